"""What rules ask for is learned from what their jobs took."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.run.report.took import took
from lartpc.run.resources import SNAKEMAKE_MB, START_MINUTES, Job, learn, read_jobs, with_accounting

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(folder, name, seconds, memory_mb, cpu_seconds):
    path = folder / "benchmarks" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{seconds}\t0:00:00\t{memory_mb}\t1\t1\t1\t0\t0\t50\t{cpu_seconds}\n")


@pytest.fixture
def results(tmp_path):
    """Two shards of 100 and 300 events, of which the segmentation took 20 s and 40 s."""
    rows = []
    for number, num in enumerate((100, 300)):
        shard = f"beam/000{number}"
        for step, seconds in (("ingest", 5.0 * num / 100), ("segment", 10.0 * num / 100)):
            rows.append(
                {
                    "file_uid": shard,
                    "step": step,
                    "seconds": seconds,
                    "num_events": num,
                    "num_voxels": 1000 * num,
                }
            )
            benchmark(tmp_path, f"{step}/{shard}", seconds + 10, 500 + num, (seconds + 10) / 2)
        benchmark(tmp_path, f"on_truth/cluster/{shard}", 30, "NA", "NA")
    benchmark(tmp_path, "collect", 12, 800, 18)
    (tmp_path / "dataset" / "throughput").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "dataset" / "throughput" / "a.parquet")
    (tmp_path / "dataset" / "summary.json").write_text("{}")
    return tmp_path


def needs_of(results, **more):
    return {one.rule: one for one in learn(read_jobs(results, results / "dataset"), **more)}


def test_each_rule_has_what_its_jobs_took(results):
    found = needs_of(results)
    assert set(found) == {"ingest", "segment", "stage_on_truth", "collect_tables"}
    segment = found["segment"]
    assert (segment.num_jobs, segment.seconds, segment.efficiency) == (2, 60.0, 0.5)
    assert segment.memory_mb == 800 and segment.mem_mb == 1500 == 1.5 * 800 + SNAKEMAKE_MB
    assert segment.runtime == START_MINUTES + 1 and not segment.is_shared
    assert found["stage_on_truth"].efficiency is None and found["collect_tables"].efficiency == 1.5


def test_time_and_memory_are_a_line_in_the_voxels(results):
    segment = needs_of(results, num_events=3000, safety=1.0)["segment"]
    # 10 s and 0.1 s per event; 500 MB and 1 MB per event
    assert segment.runtime == START_MINUTES + 6 and segment.mem_mb == 3500 + SNAKEMAKE_MB


def test_of_shards_that_are_alike_only_the_time_grows():
    jobs = [Job("segment", f"a/{n}", 60.0 + n, 30.0, 900.0, 100, 1000 + n) for n in range(3)]
    (one,) = learn(jobs, num_events=1000, safety=1.0)
    assert one.runtime == pytest.approx(START_MINUTES + 11) and one.mem_mb == 1200


def test_jobs_that_shared_a_process_are_told_by_their_times(results):
    benchmark(results, "ingest/beam/0001", 60, 2900, 50)
    benchmark(results, "segment/beam/0001", 2, 90, 1)  # it took 30 s on its events, elsewhere
    found = needs_of(results)
    assert found["segment"].is_shared and found["ingest"].is_shared
    assert found["segment"].mem_mb == found["ingest"].mem_mb == 4700
    assert took(results, results / "dataset")[1]["rule"] == "ingest *"


def test_accounting_knows_the_most_of_memory(results):
    jobs = read_jobs(results, results / "dataset")
    lines = [
        f"7|rule_segment_wildcards_beam_0001|{results}||95",
        "7.batch|||2097152K|95",
        "7.0|||1500.5M|90",
        "8|rule_segment_wildcards_beam_0000|/elsewhere||9999",
        "8.batch|||9G|9999",
        "not a job",
    ]
    found = {(job.rule, job.shard): job for job in with_accounting(jobs, lines, results)}
    assert (found["segment", "beam/0001"].memory_mb, found["segment", "beam/0001"].seconds) == (2048, 95)
    assert (found["segment", "beam/0000"].memory_mb, found["segment", "beam/0000"].seconds) == (600, 20)


def test_the_overlay_is_a_profile(results, tmp_path):
    said = CliRunner().invoke(app, ["resources", str(results), "--out", str(tmp_path / "learned")])
    assert said.exit_code == 0 and "segment" in said.output and "50 %" in said.output
    asked = yaml.safe_load((tmp_path / "learned/profile.yaml").read_text())["set-resources"]
    assert asked["segment"] == {"mem_mb": "1500 * attempt", "runtime": f"{START_MINUTES + 1} * attempt"}


@pytest.mark.parametrize("text", ["", "a\tb\n1\t2\n", HEAD + "x\t\t\t\t\t\t\t\t\t\n"])
def test_what_is_no_benchmark_is_refused(results, text):
    path = results / "benchmarks/segment/beam/0000.tsv"
    path.write_text(text)
    if not text:
        assert needs_of(results)["segment"].num_jobs == 1
        return
    with pytest.raises(ValueError, match="is not a benchmark file of Snakemake") as error:
        read_jobs(results, results / "dataset")
    assert str(path) in str(error.value)


def test_a_production_without_benchmarks_is_named(results):
    for path in (results / "benchmarks").rglob("*.tsv"):
        path.unlink()
    with pytest.raises(ValueError, match="has no benchmark files"):
        read_jobs(results, results / "dataset")
    assert took(results, results / "dataset") == []
