from probscale.spelling import close_names, did_you_mean


def test_close_names_come_in_the_order_of_likeness_and_no_more_than_asked():
    known = ["width", "weight_decay", "with", "depth", 7]
    assert close_names("widht", known, most=2) == ("width", "with")
    assert close_names("widht", known, most=1) == ("width",)
    assert close_names("batch", known) == ()
    assert close_names(7, known) == ("7",)
    assert close_names("wd", ["weight_decay"]) == ()
    assert close_names("wd", ["weight_decay"], likeness=0.2) == ("weight_decay",)


def test_a_message_asks_only_where_a_name_is_close_and_then_goes_on():
    assert did_you_mean(("lr", "wd"), "known are 3") == "did you mean 'lr' or 'wd'? known are 3"
    assert did_you_mean((), "known are 3") == "known are 3"
    assert did_you_mean(("lr",)) == "did you mean 'lr'?"
    assert not did_you_mean(())
