"""Short explanations of categorical values that small language models do not know.

A sentence encoder from 2021 has never met Muon or SOAP. One clause about what a value *is* lets a new
optimizer land near its relatives; without it, the embedding of a name is the embedding of its spelling.
"""

from __future__ import annotations

OPTIMIZERS = {
    "adafactor": "Adafactor, adaptive, factored second moment",
    "adam": "Adam, adaptive, diagonal second moment",
    "adamc": "AdamC, Adam with corrected decoupled weight decay",
    "adamw": "AdamW, adaptive, diagonal second moment, decoupled weight decay",
    "adamw_mini": "Adam-mini, adaptive, blockwise second moment, low memory",
    "adam_mini": "Adam-mini, adaptive, blockwise second moment, low memory",
    "cautious": "Cautious AdamW, adaptive, updates masked where they oppose the gradient",
    "kron": "Kron, PSGD with Kronecker-factored matrix preconditioner",
    "lion": "Lion, sign of momentum, no second moment",
    "mars": "MARS, adaptive, variance-reduced gradients, diagonal second moment",
    "mini": "Adam-mini, adaptive, blockwise second moment, low memory",
    "muon": "Muon, momentum orthogonalized by Newton-Schulz, matrix preconditioner",
    "muon_adamw": "Muon for matrices, orthogonalized momentum, with AdamW for the rest",
    "nadamw": "NAdamW, adaptive with Nesterov momentum, diagonal second moment, decoupled weight decay",
    "psgd": "PSGD, preconditioned stochastic gradient descent, Kronecker-factored matrix preconditioner",
    "rmsprop": "RMSprop, adaptive, diagonal second moment, no momentum",
    "scion": "Scion, norm-constrained momentum, orthogonalized matrix updates",
    "sgd": "SGD, stochastic gradient descent",
    "sgdm": "SGD with momentum",
    "shampoo": "Shampoo, second order, Kronecker-factored matrix preconditioner",
    "soap": "SOAP, Adam in the eigenbasis of Shampoo, matrix preconditioner",
    "sophia": "Sophia, second order, diagonal Hessian estimate, clipped updates",
}

SCHEDULES = {
    "cosine": "cosine decay after warmup",
    "constant": "constant after warmup",
    "linear": "linear decay after warmup",
    "inverse_sqrt": "decay with the inverse square root of the step",
    "wsd": "warmup, stable, then decay",
    "warmup_stable_decay": "warmup, stable, then decay",
    "warmup_stable_warmdown": "warmup, stable, then decay",
    "trapezoidal": "warmup, stable, then decay",
}

LEARNERS = {
    "adaboostclassifier": "boosting of weak decision trees, an ensemble",
    "bernoullinb": "naive Bayes on binary features, generative classifier, poor probabilities",
    "decisiontreeclassifier": "single fully grown decision tree, hard zero-one predictions",
    "dummyclassifier": "class frequencies, ignores all features",
    "extratreeclassifier": "single fully grown randomized decision tree, hard zero-one predictions",
    "extratreesclassifier": "ensemble of randomized decision trees, averaged probabilities",
    "gaussiannb": "naive Bayes with normal features, generative classifier, poor probabilities",
    "gradientboostingclassifier": "boosted ensemble of shallow decision trees, trained on the log-loss",
    "histgradientboostingclassifier": "boosted ensemble of decision trees, trained on the log-loss",
    "kneighborsclassifier": "k nearest neighbours, votes of a few similar examples as probabilities",
    "lineardiscriminantanalysis": "linear Gaussian discriminant, generative classifier with probabilities",
    "logisticregression": "linear classifier trained on the log-loss, calibrated probabilities",
    "mlpclassifier": "multilayer perceptron neural network, trained on the log-loss",
    "multinomialnb": "naive Bayes on counts, generative classifier, poor probabilities",
    "passiveaggressiveclassifier": "online linear classifier with hinge loss, hard zero-one predictions",
    "perceptron": "online linear classifier with hinge loss, hard zero-one predictions",
    "quadraticdiscriminantanalysis": "quadratic Gaussian discriminant, extreme probabilities",
    "randomforestclassifier": "ensemble of decision trees, averaged probabilities",
    "ridgeclassifier": "linear classifier with squared loss, hard zero-one predictions",
    "sgdclassifier": "linear classifier with hinge loss by stochastic gradient, hard zero-one predictions",
    "svc": "support vector machine, hard zero-one predictions",
    "svc_linear": "support vector machine with linear kernel, hard zero-one predictions",
    "svc_poly": "support vector machine with polynomial kernel, hard zero-one predictions",
    "svc_rbf": "support vector machine with radial kernel, hard zero-one predictions",
    "svc_sigmoid": "support vector machine with sigmoid kernel, hard zero-one predictions",
}

ROUTERS = {
    "dense": "dense transformer without experts, no routing",
    "hash": "sparse mixture of experts, fixed random hash routing of tokens",
    "rl_r": "sparse mixture of experts, learned routing by reinforcement learning",
    "s_base": "sparse mixture of experts, learned balanced routing by optimal transport",
    "switch": "sparse mixture of experts, learned top-one routing with a balancing loss",
    "top_1": "sparse mixture of experts, learned top-one routing with a balancing loss",
    "top_2": "sparse mixture of experts, learned top-two routing with a balancing loss",
}

_LANGUAGES = """
af Afrikaans Germanic | am Amharic Semitic | ar Arabic Semitic | az Azerbaijani Turkic |
bg Bulgarian Slavic | bn Bengali Indo-Aryan | cs Czech Slavic | da Danish Germanic | de German Germanic |
el Greek Hellenic | en English Germanic | es Spanish Romance | et Estonian Uralic | fa Persian Iranian |
fi Finnish Uralic | fr French Romance | gl Galician Romance | gu Gujarati Indo-Aryan | ha Hausa Chadic |
he Hebrew Semitic | hi Hindi Indo-Aryan | hr Croatian Slavic | hu Hungarian Uralic |
id Indonesian Austronesian | ig Igbo Niger-Congo | it Italian Romance | ja Japanese Japonic |
jv Javanese Austronesian | ka Georgian Kartvelian | kk Kazakh Turkic | km Khmer Austroasiatic |
ko Korean Koreanic | lt Lithuanian Baltic | lv Latvian Baltic | mk Macedonian Slavic |
ml Malayalam Dravidian | mn Mongolian Mongolic | mr Marathi Indo-Aryan | ms Malay Austronesian |
my Burmese Sino-Tibetan | ne Nepali Indo-Aryan | nl Dutch Germanic | no Norwegian Germanic |
pa Punjabi Indo-Aryan | pl Polish Slavic | ps Pashto Iranian | pt Portuguese Romance | ro Romanian Romance |
ru Russian Slavic | si Sinhala Indo-Aryan | sk Slovak Slavic | sl Slovenian Slavic | so Somali Cushitic |
sq Albanian Albanian | sr Serbian Slavic | sv Swedish Germanic | sw Swahili Niger-Congo |
ta Tamil Dravidian | te Telugu Dravidian | th Thai Kra-Dai | tl Tagalog Austronesian | tr Turkish Turkic |
uk Ukrainian Slavic | ur Urdu Indo-Aryan | uz Uzbek Turkic | vi Vietnamese Austroasiatic |
xh Xhosa Niger-Congo | yo Yoruba Niger-Congo | zh Chinese Sino-Tibetan | zu Zulu Niger-Congo
"""


def _languages() -> dict[str, str]:
    rows = (entry.split() for entry in _LANGUAGES.split("|"))
    return {code: f"{name}, {family} language" for code, name, family in rows}


LANGUAGES = _languages()

_TABLES = {
    "optimizer": OPTIMIZERS,
    "learning-rate schedule": SCHEDULES,
    "source language": LANGUAGES,
    "target language": LANGUAGES,
    "learner": LEARNERS,
    "classifier": LEARNERS,
    "algorithm": LEARNERS,
    "router type": ROUTERS,
    "router": ROUTERS,
    "routing": ROUTERS,
}


def explain(field: str, value: str) -> str | None:
    """Explanation of a categorical value, or None where there is none.

    Args:
        field: Spoken name of the field, such as "optimizer".
        value: The value as written; case and separators do not matter, nor does the region of a language
            code.
    """
    table = _TABLES.get(field)
    if table is None:
        return None
    key = value.strip().lower().replace("-", "_").replace(" ", "_")
    if table is LANGUAGES:
        return table.get(key) or table.get(key.split("_")[0])
    # "sklearn.tree.DecisionTreeClassifier" is the class at its end.
    return table.get(key) or table.get(key.rsplit(".", 1)[-1])
