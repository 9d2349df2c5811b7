"""What the note says of control comes from the intervals."""

import pytest

from jaxadv.reports import control as report

RUN = {"dataset": "mnist", "images": 4, "seed": 3, "device": "1 × cpu", "seconds": {"total": 12.3}}


def model(control, certified, interval):
    estimate = {"mean": certified, "interval": interval}
    return {
        "name": f"small{control}",
        "network": "small",
        **dict.fromkeys(("train_error", "test_error", "lipschitz_bound", "found"), 0.5),
        "certified": 0.25,
        "seeds": [{}, {}],
        "differences": {"test_error": estimate, "found": estimate, "certified": estimate}
        if control
        else None,
    }


def figures(*controlled):
    return {"models": [model("", None, None), *controlled], **RUN}


LESS = model(", limit 1", -0.002, (-0.003, -0.001))
PERHAPS = model(", penalty 2", -0.001, [-0.003, 0.001])
MORE = model(", penalty 3", 0.002, [0.001, 0.003])
ALONE = model(", penalty 4", -0.002, None)
NONE = model(", penalty 5", None, None)


@pytest.mark.parametrize(
    "controlled, said",
    [
        ([MORE, NONE], "lowers the certified distortion nowhere."),
        ([LESS, MORE], "distortion significantly (0 is outside of the interval): small, limit 1."),
        ([PERHAPS], "distortion on average only (0 is in the interval): small, penalty 2."),
        (
            [LESS, PERHAPS, MORE, ALONE],
            "significantly (0 is outside of the interval): small, limit 1, and on average only"
            " (0 is in the interval): small, penalty 2; small, penalty 4.",
        ),
    ],
)
def test_note_names_the_rows_in_which_control_lowers_what_is_certified(controlled, said):
    assert report.note(figures(*controlled)).endswith(said)


def test_differences():
    means, differences = report.tables(figures(LESS, ALONE, NONE))
    assert [row[0] for row in means.rows][:2] == ["small", "small, limit 1"]
    assert differences.rows == [
        ["limit 1", "-0.20 [-0.30, -0.10]", *["-2.00 [-3.00, -1.00]"] * 2],
        ["penalty 4", "-0.20 [–]", *["-2.00 [–]"] * 2],
        ["penalty 5", "–", "–", "–"],
    ]
    assert len(report.tables(figures())) == 1
