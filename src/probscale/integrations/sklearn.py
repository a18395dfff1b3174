"""scikit-learn estimator over a surrogate: rows are points of training runs, columns are settings."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal, cast, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from probscale.errors import ConfigError
from probscale.runs import RunLog
from probscale.runs.schema import Goal, listed, names_of
from probscale.surrogate import CurveSurrogate, FitOptions, fit_surrogate

Array = NDArray[np.float64]

FEWEST = 3
_RUN, _AXIS, _OUTPUT = "run of the row", "axis of the row", "output"


class ProbscaleRegressor(RegressorMixin, BaseEstimator):
    """Surrogate of training runs with scikit-learn's interface.

    Each row is one measured point: settings, and if named its place on the axis. Without `run` each row is a
    run of its own. Tables may hold text and missing values; arrays, numbers and NaN.

    Args:
        axis: Column of the progress axis, a name or the position in an array; None if all rows are measured
            at one place.
        run: Column that identifies runs measured more than once.
        levels: Columns of the task hierarchy, coarse to fine.
        params: Column of the model size.
        horizon: Column of the planned end of the axis.
        goal: "min" or "max".
        embedder: As in `fit_surrogate`; None leaves text out.
        output_transform: `transform` of `fit_surrogate`.
        options: As in `fit_surrogate`.
        random_state: Seed of the fit: an integer, or as elsewhere in scikit-learn a `RandomState` to draw it
            from, or None for another one each time.

    Attributes:
        surrogate_: The fitted `CurveSurrogate`.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, where given.

    >>> from probscale.integrations import ProbscaleRegressor
    >>> ProbscaleRegressor(axis="tokens")
    ProbscaleRegressor(axis='tokens')
    """

    def __init__(
        self,
        *,
        axis: str | int | None = None,
        run: str | int | None = None,
        levels: str | tuple[str, ...] = (),
        params: str | int | None = None,
        horizon: str | int | None = None,
        goal: Goal = "min",
        embedder: Any = None,
        output_transform: str = "auto",
        options: FitOptions | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.axis = axis
        self.run = run
        self.levels = levels
        self.params = params
        self.horizon = horizon
        self.goal: Goal = goal
        self.embedder = embedder
        self.output_transform = output_transform
        self.options = options
        self.random_state = random_state

    def fit(self, X: ArrayLike | pd.DataFrame, y: ArrayLike) -> ProbscaleRegressor:
        """Fit a surrogate to measured points.

        Args:
            X: Settings, (points, columns).
            y: Outputs, (points,).

        Raises:
            ValueError: for fewer than three points, or inputs that scikit-learn refuses.
            ConfigError: if a named column does not exist.
        """
        if y is None:
            raise ConfigError(
                "fit requires y to be passed, but the target y is None; pass the measured outputs"
            )
        frame, outputs = self._table(X, y)
        frame[_OUTPUT] = np.asarray(outputs, dtype=np.float64)
        log = RunLog.from_frame(
            frame,
            run=self._name(self.run) if self.run is not None else _RUN,
            axis=self._name(self.axis) if self.axis is not None else _AXIS,
            output=_OUTPUT,
            goal=self.goal,
            levels=names_of(self.levels),
            params=None if self.params is None else self._name(self.params),
            horizon=None if self.horizon is None else self._name(self.horizon),
            config=[name for name in frame.columns if name not in (_RUN, _AXIS, _OUTPUT, *self._special())],
        )
        seed = _seed(self.random_state)
        self.surrogate_: CurveSurrogate = fit_surrogate(
            log, embedder=self.embedder, seed=seed, transform=self.output_transform, options=self.options
        )
        return self

    @overload
    def predict(self, X: ArrayLike | pd.DataFrame, return_std: Literal[False] = False) -> Array: ...
    @overload
    def predict(self, X: ArrayLike | pd.DataFrame, return_std: Literal[True]) -> tuple[Array, Array]: ...
    def predict(self, X: ArrayLike | pd.DataFrame, return_std: bool = False) -> Array | tuple[Array, Array]:
        """Expected output of each row, (points,), and with `return_std` its predictive standard deviation."""
        check_is_fitted(self)
        frame, _ = self._table(X, None)
        axis = self._name(self.axis) if self.axis is not None else _AXIS
        at = frame[axis].to_numpy(dtype=np.float64)[:, None]
        curves = self.surrogate_.predict(frame.drop(columns=[axis, *({_RUN} & set(frame.columns))]), at)
        return (curves.mean[:, 0], curves.std[:, 0]) if return_std else curves.mean[:, 0]

    def _table(self, X: Any, y: Any) -> tuple[pd.DataFrame, Any]:
        """Checked columns as a frame, with run and axis columns where none are named, and checked outputs."""
        fitting = y is not None
        if isinstance(X, pd.DataFrame):
            # Tables may hold text, which the conversion of scikit-learn would refuse.
            table: Any = X
            validate_data(self, table, reset=fitting, skip_check_array=True)
            frame, outputs = X.reset_index(drop=True).rename(columns=str), self._outputs(X, y)
        else:
            rules: dict[str, Any] = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
            if fitting:
                rules |= {"y": y, "y_numeric": True, "ensure_min_samples": FEWEST}
            checked: Any = validate_data(self, X, reset=fitting, **rules)
            values = cast(Array, checked[0] if fitting else checked)
            outputs = checked[1] if fitting else None
            frame = pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])
        if self.run is None and fitting:
            frame = frame.assign(**{_RUN: np.arange(len(frame))})
        return (frame.assign(**{_AXIS: 1.0}) if self.axis is None else frame.copy()), outputs

    def _outputs(self, X: pd.DataFrame, y: ArrayLike | None) -> Any:
        if y is None:
            return None
        outputs = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, outputs)
        assert_all_finite(outputs, input_name="y")
        if len(X) < FEWEST:
            raise ConfigError(f"X has {len(X)} rows; a fit needs at least {FEWEST}", rows=len(X))
        return outputs

    def _name(self, column: str | int) -> str:
        name = column if isinstance(column, str) else f"x{column}"
        names = getattr(self, "feature_names_in_", None)
        count: int = getattr(self, "n_features_in_")  # noqa: B009
        known = [f"x{i}" for i in range(count)] if names is None else list(names)
        if not isinstance(column, str) and names is not None:
            name = known[column]
        if name not in known:
            raise ConfigError(f"no column {column!r}; columns are: {listed(known)}", column=column)
        return name

    def _special(self) -> set[str]:
        named = (self.run, self.axis, self.params, self.horizon)
        return {self._name(column) for column in named if column is not None} | set(names_of(self.levels))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _seed(random_state: Any) -> int:
    """Seed of a fit; integers are taken as they are, so that fits equal those of `fit_surrogate`."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
