"""The report's page and its answers; what it does in a browser is seen in tests/browser."""

import json
import math
import re

import numpy as np
import pytest

from gdjax.data.regimes import full_batch, stochastic
from gdjax.report.answers import answers
from gdjax.report.page import numbers, page

COST, RATES = "What did it cost?", "What would another learning rate have done?"


@pytest.fixture
def comparison(made, made_row):
    rows = (
        made_row(),
        made_row("adam", (0.6, 0.7, 0.9), regime=full_batch(), tied=True, customary_rate=math.nan),
        made_row("gd", (0.7, 0.8, 0.9), schedule="step", regime=stochastic(), tied=False),
        made_row("adam", (0.5, 0.6, 0.7), diverged=range(3), tied=False),
    )
    return made(*rows, baselines={"majority": {"loss": 0.7, "accuracy": 0.5}})


def test_the_page_needs_nothing_outside_itself(comparison):
    text = page(comparison, "It is so.", "moons", "print(1)")
    assert text.count("<html") == text.count("</html>") == 1
    assert "<!--" not in text.split("<body>")[1].split("<script")[0]
    assert not re.search(r"(src|href)\s*=|@import|url\(|fetch\(", text)
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_words_and_numbers_cannot_break_the_page(made, made_row):
    evil = "</script><img src=x onerror=alert(1)>"
    text = page(made(made_row(evil)), evil, evil, evil)
    assert "<img" not in text
    found = json.loads(text.split('id="comparison">')[1].split("</script>")[0], parse_constant=pytest.fail)
    assert found["rows"][0]["optimizer"] == evil


def test_numbers_are_those_of_the_rows(comparison, made, made_row):
    found = json.loads(json.dumps(numbers(comparison), allow_nan=False))
    assert list(found["optimizers"]) == ["adam", "gd"]
    assert len(set(found["optimizers"].values())) == 2
    assert list(found["regimes"]) == ["full_batch", "mini_batch(5)", "stochastic"]
    assert len(set(found["regimes"].values())) == 3
    assert found["schedules"] == ["constant", "step"]
    first, other, stepped, lost = found["rows"]
    assert first["at"] == {"examples": [0, 20, 40], "updates": [0, 4, 8], "seconds": [0.0, 0.1, 0.2]}
    assert first["loss"]["mean"] == pytest.approx([1, 0.7, 0.4])
    assert (first["loss"]["low"][-1], first["loss"]["high"][-1]) == (0.3, 0.5)
    assert first["rate"]["mean"] == [0.1, 0.1, 0.1]
    assert first["by_rate"]["rates"] == [0.01, 0.1, 1.0]
    assert first["by_rate"]["loss"] == pytest.approx([0.4, 0.4, 0.4])
    assert other["customary_rate"] is None
    assert [row["diverged_at_customary"] for row in found["rows"]] == [False] * 4
    late = made_row(rates=(0.001, 0.1, 1.0), customary_rate=1.0)
    curves = late.curves._replace(diverged=np.asarray([[False] * 3, [False] * 3, [True] * 3]))
    gone = numbers(made(made_row(rates=late.curves.rates, customary_rate=1.0, curves=curves)))["rows"][0]
    assert gone["diverged_at_customary"]
    assert stepped["name"] == "gd with step, stochastic"
    assert lost["loss"]["mean"] == []
    assert lost["by_rate"]["diverged"] == [0, 3, 0]
    assert lost["by_rate"]["loss"][1] is None


def test_what_is_no_number_is_none(made, made_row):
    row = made_row()
    gradients = np.where(np.arange(3) == 0, np.nan, 1.234567) * np.ones((3, 3, 3))
    row = made_row(curves=row.curves._replace(gradient_norm=gradients))
    assert numbers(made(row))["rows"][0]["gradient"]["mean"] == [None, 1.2346, 1.2346]


def test_five_questions_have_answers(comparison):
    told = answers(comparison)
    assert told["Which is best?"] == (
        "gd, mini_batch(5), at a learning rate of 0.1: a test loss of 0.40 ± 0.25, accuracy 0.60 ± 0.25."
    )
    much = told["By how much?"]
    assert much.startswith(
        "Its validation loss, which ranks the rows, is 0.4, and its test loss, which need not agree, 0.4; "
        "the next row, adam, full_batch, has 0.7333 and 0.7333; the last, gd with step, stochastic, has 0.8 and 0.8; "
    )
    assert much.endswith("on test data the baseline majority has 0.7.")
    assert told["Is it a real difference?"] == (
        "In part: adam, full_batch is no worse than chance explains, the other 2 worse, on test data, over 3 seeds."
    )
    assert told[COST].startswith("40 examples in 8 updates, 0.2 s for a run, once compiled (2.5 s); the whole")
    assert "the quickest in seconds is gd, mini_batch(5): 0.2 s, 8 updates, 40 examples." in told[COST]
    assert told[RATES] == "At 0.1 its validation loss is 0.4; 0.01 gives 0.4; 1 gives 0.4."


def test_answers_where_little_was_compared(made, made_row):
    alone = answers(made(made_row(losses=(0.3,), tied=None), target=0.1))
    assert alone["By how much?"].endswith("need not agree, 0.3; there is nothing beside it.")
    assert alone["Is it a real difference?"] == "One seed cannot tell: ask for more (--seeds)."
    assert "quickest" not in alone[COST]
    assert answers(made(made_row()))["Is it a real difference?"] == "There is nothing to tell it from."
    all_lost = answers(made(made_row(diverged=range(3))))
    assert all_lost == {"Which is best?": "None: every run diverged, at every learning rate that was tried."}
    assert "every run diverged" in page(made(made_row(diverged=range(3))), "Nothing.", "moons")


@pytest.mark.parametrize(
    ("ties", "words"),
    [
        ((False, False), "Yes: every other row is worse by more than chance explains, on test data, over 3 seeds."),
        (
            (True, None),
            "No: none of the other 2 rows is worse by more than chance explains, on test data, over 3 seeds.",
        ),
        (
            (True, False),
            "In part: adam, mini_batch(5) is no worse than chance explains, the other 1 worse, on test data, over "
            "3 seeds.",
        ),
    ],
)
def test_whether_it_is_a_difference(made, made_row, ties, words):
    rows = [made_row(name, tied=tied) for name, tied in zip(("adam", "momentum"), ties, strict=True)]
    assert answers(made(made_row(), *rows))["Is it a real difference?"] == words


def test_rates_that_diverge_and_that_are_customary(made, made_row):
    row = made_row(rates=(0.001, 0.01, 0.1, 1.0), customary_rate=1.0)
    curves = row.curves._replace(
        diverged=np.asarray([[False] * 3, [False] * 3, [False, True, False], [True] * 3]),
        validation_loss=row.curves.validation_loss * np.asarray([9, 1, 1, 1])[:, None, None],
    )
    told = answers(made(made_row(rates=row.curves.rates, customary_rate=1.0, curves=curves)))[RATES]
    assert told == (
        "At 0.01 its validation loss is 0.4; 0.001 gives 3.6; 0.1 gives a diverged run; the customary 1 "
        "a diverged run. Of 4 rates, 2 made a run diverge."
    )
