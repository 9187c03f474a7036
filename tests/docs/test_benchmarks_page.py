"""The results on the page of benchmarks come from a run, faster peers and missed targets included."""

from typing import Any

from benchmarks.page import END, PAGE, START, results, written


def row(name: str, **info: Any) -> dict[str, Any]:
    return {"name": name, "stats": {"median": 0.5, "min": 0.4, "max": 0.9}, "extra_info": info}


RUN = {
    "machine_info": {"python_version": "3.11.7", "cpu": {"brand_raw": "A | processor", "count": 2}},
    "commit_info": {"id": "0123456789abcdef", "dirty": True},
    "datetime": "2026-11-30T01:02:03",
    "benchmarks": [
        row("test_first", job="a | job", seconds=2.0, cpu_seconds=1.0, lib_seconds=8.0, lib_cpu_seconds=3.0,
            lib_ratio_spread=[2.5, 3.5], growth_mib=10.0, lib_growth_mib=20.0, bars=[[">= 2x", True]], load=0.2),
        row("test_second", seconds=2.0, lib_seconds=1.0, bars=[[">= 1x", False]], load=1.4),
        row("test_without_a_peer", growth_mib=float("nan")),
    ],
}  # fmt: skip


def test_each_benchmark_is_a_row_and_what_is_lost_is_stated():
    shown = results([RUN], {"lib": "1.2"})
    assert "| a ¦ job | 2 | lib | 8 | 3 | 2.5 to 3.5 | 10, 20 | >= 2x met |" in shown
    assert "| second | 2 | lib | 1 | 0.5 | – | – | >= 1x MISSED |" in shown
    assert "| without a peer | 0.5 | – | – | – | 0.4 to 0.9 s | – | – |" in shown
    assert "**The other library is faster:** second (lib, ratio 0.5)." in shown
    assert "**Missed targets:** second (>= 1x MISSED)." in shown
    assert "commit 0123456789 with changes" in shown
    assert "2 cores, load 0.2 to 1.4, Python 3.11.7, lib 1.2." in shown
    assert "content digest" in shown
    assert "Without a result" not in shown


def test_results_of_several_files_are_one_table():
    other = RUN | {"commit_info": {"id": "fedcba9876543210"}, "datetime": "2026-12-01T00:00:00"}
    shown = results([RUN, other | {"benchmarks": [row("test_third", load=3.0)]}], {}, ["test_fourth.py"])
    assert "Run of 2026-11-30 to 2026-12-01 at commit 0123456789 with changes, fedcba9876:" in shown
    assert "load 0.2 to 3.0" in shown
    assert shown.count("| job |") == 1
    assert shown.index("| a ¦ job |") < shown.index("| third |")
    assert "**Without a result in this run:** test_fourth.py." in shown


def test_another_setting_of_peak_trade_is_no_other_library():
    own = [row("test_threads", seconds=2.0, one_thread_seconds=1.0)]
    assert "**The other library is faster:** in no row." in results([RUN | {"benchmarks": own}], {})


def test_other_results_replace_those_of_the_page_alone():
    text = PAGE.read_text(encoding="utf-8")
    other = written(text, "none")
    assert (text.count(START), text.count(END)) == (1, 1)
    assert other.partition(START)[0] == text.partition(START)[0]
    assert other.partition(END)[2] == text.partition(END)[2]
    assert written(other, "none") == other
