"""What benchmarks share."""


def test_machine_is_named(monkeypatch):
    import common

    monkeypatch.setattr(common, "cpu_model", lambda: "Z80")
    monkeypatch.setattr(common.os, "cpu_count", lambda: 4)
    assert common.machine((2, 0, 2)) == "Z80 with 4 cores, pinned to 0, 2"
    assert common.machine(None).endswith("× cpu")
    monkeypatch.undo()
    assert common.cpu_model()
