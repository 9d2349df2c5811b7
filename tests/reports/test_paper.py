"""The paper's figures."""

from jaxadv.reports import paper


def test_figures_of_the_paper():
    """Szegedy et al. (2013): some cells of the tables, and what all rows have in common."""
    assert paper.TABLE_1["FC100-100-10"] == (0.0, 0.0164, 0.058)
    assert paper.TABLE_1["AE400-10"] == (0.0057, 0.019, 0.086)
    assert paper.TABLE_2["FC10(1)"]["FC10(1e-2)"] == 0.762
    assert paper.TABLE_2["FC200-200-10"]["FC10(1e-4)"] == 0.382
    assert paper.TABLE_2["noise 0.3"]["AE400-10"] == 0.031
    assert list(paper.TABLE_2)[:6] == list(paper.TABLE_1)
    for name, row in paper.TABLE_2.items():
        assert list(row) == list(paper.TABLE_1)
        assert [column for column, error in row.items() if error == 1] == [name][: len(row)] or (
            name.startswith("noise") and max(row.values()) < 0.25
        )
    assert paper.TABLE_3["FC100-100-10'"] == (0.023, 0.0, 0.021, 0.058)
    assert paper.TABLE_4["FC100-100-10' to 0.1"]["FC123-456-10"] == 0.5
    for name, row in paper.TABLE_4.items():
        assert list(row) == list(paper.TABLE_3)
        ones = [column for column, error in row.items() if error == 1]
        assert ones == [name.removesuffix(" to 0.1")] or (
            name.startswith("noise") and max(row.values()) < 0.03
        )
