"""Independent work on a real Ray cluster of two nodes: it ends as it does here, whatever dies on the way."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tfseg.engine import Files, Local, Piece, Ray
from tfseg.engine.board import Board
from tfseg.errors import InputError, WorkError
from tfseg.progress import silent

ray = pytest.importorskip("ray", reason="these tests need Ray: pip install 'tfseg[ray]'")

KFOLD = (
    *("kfold", "--dataset", "nerve", "--model", "segresnet_bn", "--folds", "2", "--epochs", "4", "--image-size", "32"),
    *("--batch-size", "2", "--set", "deterministic=true", "--set", "holdout=0.2", "--deploy", "int8"),
)


@pytest.fixture
def piece(tmp_path):
    """Make a piece of work in a run folder of its own."""

    def make(name, work, *, files=()):
        return Piece(name=name, run=tmp_path / "run", folder=name, work=work, files=files, share=lambda watch: watch)

    return make


def test_local_does_one_after_the_other(piece, tmp_path):
    done = []
    pieces = [piece(name, lambda run, where, watch, name=name: done.append((name, run))) for name in "ab"]
    assert [next_piece.name for next_piece in Local().run(pieces, watch=silent)] == ["a", "b"]
    assert done == [("a", tmp_path / "run"), ("b", tmp_path / "run")]


def test_board_adds_up_what_is_done_at_the_same_time():
    told = []
    board = Board(["fold 1/3", "fold 2/3", "fold 3/3"], lambda *words: told.append(words))
    board.note(1, "training", 5, 10)
    assert told[-1] == ("training", 5, 30, "")  # the two not heard of count as ten, too
    board.note(0, "training", 10, 10, "epoch 2/2")
    assert told[-1] == ("training", 15, 30, "fold 1/3 epoch 2/2")
    board.note(0, "scoring", 3, 4)
    assert told[-1] == ("scoring", 3, 12, "")
    board.finish(1)  # it will not come to scoring any more
    assert told[-2:] == [("training", 20, 30, ""), ("scoring", 3, 8, "")]
    before = len(told)
    board.finish(1)
    assert len(told) == before
    board.say(2, "lost its worker")
    assert told[-1][3] == "fold 3/3 lost its worker"


def counting(run, where, watch):
    """Count to four in a file, a step an epoch; killed once after the second, as by a machine that loses power."""
    path = run / "a" / "count"
    for count in range(int(path.read_text()) if path.exists() else 0, 4):
        path.write_text(str(count + 1))
        print(f"step {count + 1}", file=sys.stderr)
        watch("training", count + 1, 4, f"epoch {count + 1}")
        if count == 1:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def on_ray(cluster):
    """Do pieces on the cluster; return those done and what was told of their progress."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this module

    def run(*pieces, **options):
        told = []
        done = list(Ray(address=cluster.address, **options).run(pieces, watch=lambda *words: told.append(words)))
        return sorted(piece.name for piece in done), told

    return run


def test_pieces_come_home_from_a_cluster(cluster, on_ray, piece, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.txt").write_text("42")
    unseen = Files(root=tmp_path / "data", names=("x.txt",), seen=lambda: False)

    def copy(run, where, watch):
        there = where(unseen.root)
        assert there != unseen.root
        (run / "b/answer").write_text((there / "x.txt").read_text())
        (run / "b/cpus").write_text(os.environ["TF_NUM_INTRAOP_THREADS"])

    Ray(address=cluster.address).check()
    done, told = on_ray(piece("a", counting), piece("b", copy, files=(unseen,)), cpus=1)
    run = tmp_path / "run"
    assert done == ["a", "b"]
    assert (run / "a/count").read_text() == "4"
    assert (run / "a/worker.log").read_text().splitlines() == ["step 1", "step 2", "step 3", "step 4"]
    assert ((run / "b/answer").read_text(), (run / "b/cpus").read_text()) == ("42", "1")
    lost = [words[3] for words in told if "lost" in words[3]]
    assert lost == ["a lost its worker (WorkerCrashedError), and goes on with another from its last epoch"]


def test_what_fails_on_a_worker_fails_here(on_ray, piece, tmp_path):
    def refuse(run, where, watch):
        (run / "a/half").write_text("half")
        raise WorkError("fold 0: the loss became nan")

    def fill(run, where, watch):
        (run / "no folder" / "file").write_text("")

    def die(run, where, watch):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkError, match="the loss became nan"):
        on_ray(piece("a", refuse))
    assert (tmp_path / "run/a/half").read_text() == "half"
    with pytest.raises(WorkError, match=r"worker on .*/no folder/file: No such file"):
        on_ray(piece("b", fill))
    with pytest.raises(WorkError, match=r"c: 2 workers were lost with it .*worker.log"):
        on_ray(piece("c", die), losses=1)
    with pytest.raises(InputError, match="no node of the Ray cluster has 1000 CPUs"):
        on_ray(piece("d", die), cpus=1000)
    with pytest.raises(InputError, match="not 0 CPUs"):
        Ray(cpus=0)


def test_ray_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'tfseg\[ray\]'"):
        Ray().check()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "nowhere.invalid:6379", "127.0.0.1:99999"])
def test_an_address_that_answers_nothing(tfseg, write_folder, tmp_path, address):
    data, out = write_folder(tmp_path / "data"), tmp_path / "run"
    words = ("kfold", "--dataset", "folder", "--data", data, "--out", out, "--engine", "ray", "--ray-address", address)
    (line,) = tfseg(*words, status=2).stderr.splitlines()
    assert line.startswith("tfseg: ")
    assert address in line
    assert not out.exists()


def test_settings_of_ray_without_ray(tfseg, tmp_path):
    words = ("kfold", "--dataset", "folder", "--data", tmp_path, "--ray-cpus", "2")
    assert tfseg(*words, status=2).stderr == "tfseg: --ray-cpus is for --engine ray\n"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_address_where_something_else_listens(monkeypatch, answer):
    monkeypatch.setattr("tfseg.engine.cluster._ANSWER_S", 0.5)

    def serve():
        with server.accept()[0] as connection, contextlib.suppress(ConnectionResetError):
            connection.sendall(answer)
            while connection.recv(100):  # until the other side has heard enough
                pass

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        done = pool.submit(serve)
        with pytest.raises(InputError, match="no Ray cluster answers there"):
            Ray(address=f"127.0.0.1:{server.getsockname()[1]}").check()
        done.result()


@pytest.fixture(scope="module")
def expected(tfseg, nerve, tmp_path_factory):
    """What a run on this machine leaves."""
    run = tmp_path_factory.mktemp("local") / "kidney"
    tfseg(*KFOLD, "--data", nerve, "--out", run)
    return outcome(run)


def outcome(run: Path) -> dict[str, bytes]:
    """Everything that must not depend on where a run was done."""
    names = ["folds.json", "metrics.csv", "summary.json"]
    of_folds = ("metrics.csv", "history.csv", "model.keras", "int8.tflite")
    names += [f"fold_{fold}/{name}" for fold in range(2) for name in of_folds]
    return {name: (run / name).read_bytes() for name in names}


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_dies_and_the_run_ends_in_the_same_bytes(start_tfseg, cluster, nerve, expected, tmp_path):
    run = tmp_path / "kidney"
    words = ("--data", nerve, "--out", run, "--engine", "ray", "--ray-address", cluster.address, "--json")
    process = start_tfseg(*KFOLD, *words)
    wait_for(run / "fold_0/history.csv", process)
    wait_for(run / "fold_1/history.csv", process)
    node = next(node for node in cluster.list_all_nodes() if node is not cluster.head_node)
    os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "lost its worker" in stderr
    assert "raylet" not in stderr
    assert json.loads(stdout) == json.loads((run / "summary.json").read_text())
    assert outcome(run) == expected
    assert not [path.name for path in run.rglob("*") if ".tmp" in path.name or path.name in ("state.npz", "pixels.bin")]
    cluster.remove_node(node)
    cluster.add_node(num_cpus=len(os.sched_getaffinity(0)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_was_stopped_and_killed_goes_on(start_tfseg, tfseg, cluster, nerve, expected, tmp_path):
    run = tmp_path / "kidney"
    words = (*KFOLD, "--data", nerve, "--out", run, "--engine", "ray", "--ray-address", cluster.address)
    process = start_tfseg(*words)
    wait_for(run / "fold_0/history.csv", process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith("tfseg: stopped")
    assert "Traceback" not in stderr
    epochs = len((run / "fold_0/history.csv").read_text().splitlines())
    process = start_tfseg(*words, "--resume")
    while len((run / "fold_0/history.csv").read_text().splitlines()) == epochs and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    tfseg(*words, "--resume")
    assert outcome(run) == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_images_are_shipped_to_a_node_that_does_not_see_them(tfseg, nerve, expected, tmp_path):
    """A node in a mount namespace of its own, where an empty disk hides the images."""
    from ray.cluster_utils import Cluster

    hide = 'mount -t tmpfs none "$0" && exec "$@"'
    blind = ("unshare", "--mount", "sh", "-c", hide, str(nerve))
    if shutil.which("unshare") is None or subprocess.run([*blind, "true"], check=False).returncode:
        pytest.skip("needs unshare (Debian's util-linux) and the right to mount (root)")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    start = (sys.executable, "-m", "ray.scripts.scripts", "start", "--address", nodes.address, "--block")
    node = subprocess.Popen([*blind, *start, "--num-cpus", "8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        run = tmp_path / "kidney"
        tfseg(*KFOLD, "--data", nerve, "--out", run, "--engine", "ray", "--ray-address", nodes.address)
        assert outcome(run) == expected
    finally:
        node.terminate()
        node.wait()
        nodes.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # of Keras' variables
def test_plans_are_one_pool_and_their_summaries_keep_their_order(write_folder, tmp_path):
    from tfseg.config import Recipe
    from tfseg.data import DATASETS
    from tfseg.data.source import open_source
    from tfseg.kfold import Plan, run_plans

    class Backwards:
        def run(self, pieces, *, watch):
            asked.append([piece.name for piece in pieces])
            return Local().run(pieces[::-1], watch=watch)

    asked = []
    root = write_folder(tmp_path / "data")
    source = open_source(DATASETS["folder"], root, channels=1, watch=lambda done, total: None)
    settings = {"dataset": "folder", "image_size": 16, "epochs": 1, "folds": 2, "batch_size": 2}
    recipes = [Recipe.from_mapping(settings | {"seed": seed}) for seed in (0, 1)]
    plans = [Plan(recipe=recipe, source=source, run=tmp_path / f"run{seed}") for seed, recipe in enumerate(recipes)]
    for _ in range(2):
        summaries = run_plans(plans, engine=Backwards(), command=["tfseg"], watch=silent)
        assert summaries == [json.loads((plan.run / "summary.json").read_text()) for plan in plans]
    assert asked == [["run0 fold 1/2", "run0 fold 2/2", "run1 fold 1/2", "run1 fold 2/2"], []]
    assert summaries[0] != summaries[1]
