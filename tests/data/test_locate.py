import dataclasses
import sys
import zipfile
from pathlib import Path

import kagglehub
import kagglehub.exceptions
import pytest
import requests

from tfseg.data import locate
from tfseg.data.sample import Polygon, Sample
from tfseg.errors import InputError, WorkError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TFSEG_DATA", raising=False)
    return tmp_path / "cache" / "tfseg"


def test_the_cache_follows_the_environment(cache, monkeypatch, tmp_path):
    assert locate.cache_root() == cache
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for unset in ("", "relative/path"):  # the XDG specification has relative paths ignored
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert locate.cache_root() == tmp_path / "home/.cache/tfseg"


def test_data_are_looked_for_where_named_then_in_the_collection_then_in_the_cache(cache, monkeypatch, tmp_path):
    collection, named = tmp_path / "collection", tmp_path / "named"
    monkeypatch.setenv("TFSEG_DATA", str(collection))
    assert locate.candidates("busi") == [collection / "busi", cache / "busi"]
    assert locate.find("busi", None) is None
    (cache / "busi").mkdir(parents=True)
    assert locate.find("busi", None) == cache / "busi"
    (collection / "busi").mkdir(parents=True)
    assert locate.find("busi", None) == collection / "busi"
    with pytest.raises(InputError, match="named: no such folder"):
        locate.find("busi", named)
    named.touch()
    with pytest.raises(InputError, match="named: is a file, not a folder"):
        locate.find("busi", named)
    named.unlink()
    named.mkdir()
    assert locate.find("busi", named) == named


def test_both_sonographers_share_a_folder(cache):
    assert locate.candidates("open_kidney_2") == [cache / "open_kidney_2", cache / "open_kidney"]


def test_a_phantom_is_known_by_its_marker(tmp_path):
    (tmp_path / "train").mkdir()
    assert not locate.is_phantom(tmp_path)
    (tmp_path / locate.PHANTOM_MARKER).write_text("{}")
    assert locate.is_phantom(tmp_path)
    assert locate.is_phantom(tmp_path / "train")  # named as nerve's root, it is still simulated


def write(root: Path, **files: bytes) -> Path:
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        (root / name).write_bytes(content)
    return root


def sample(root: Path, **changes) -> Sample:
    return dataclasses.replace(Sample(image=root / "a", masks=(root / "b",), patient="1"), **changes)


def test_a_fingerprint_does_not_depend_on_place_or_order(tmp_path):
    here, there = (write(tmp_path / name, a=b"image", b=b"mask", c=b"other") for name in ("here", "there"))
    first = locate.fingerprint(here, [sample(here), sample(here, image=here / "c")])
    assert first == locate.fingerprint(there, [sample(there, image=there / "c"), sample(there)])
    assert len(first) == 64


def test_a_fingerprint_changes_with_everything_that_makes_up_a_sample(tmp_path):
    root = write(tmp_path / "data", a=b"image", b=b"mask", c=b"image")
    square = Polygon(channel=1, vertices=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
    variants = [
        sample(root),
        sample(root, image=root / "c"),
        sample(root, masks=()),
        sample(root, masks=(root / "c",)),
        sample(root, polygons=(square,)),
        sample(root, polygons=(dataclasses.replace(square, channel=2),)),
        sample(root, patient="2"),
        sample(root, stratum="benign"),
        sample(root, spacing_mm=(0.1, 0.1)),
    ]
    fingerprints = {locate.fingerprint(root, [variant]) for variant in variants}
    write(root, a=b"imagf")
    fingerprints.add(locate.fingerprint(root, [sample(root)]))
    assert len(fingerprints) == len(variants) + 1


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="a: cannot be read"):
        locate.fingerprint(tmp_path, [sample(tmp_path)])


def kaggle(monkeypatch, behave, *, function: str = "competition_download") -> None:
    """Put `behave` in the place of Kaggle."""
    monkeypatch.setattr(requests, "head", lambda *_, **__: None)
    monkeypatch.setattr(kagglehub, function, behave)


def fails(error: Exception):
    def download(_, **__):
        raise error

    return download


def test_a_competition_is_unpacked_into_the_cache(cache, monkeypatch, capsys):
    def download(handle, output_dir):
        assert handle == "ultrasound-nerve-segmentation"
        print("chatter")
        folder = Path(output_dir)
        folder.mkdir()
        (folder / ".complete").mkdir()
        with zipfile.ZipFile(folder / "train.zip", "w") as archive:  # Kaggle packs the folders once more
            archive.writestr("train/1_1.tif", b"")
            archive.writestr("train/1_1_mask.tif", b"")

    kaggle(monkeypatch, download)
    root = locate.get("nerve")
    assert root == cache / "nerve" == locate.find("nerve", None)
    assert (root / "train/1_1_mask.tif").is_file()
    assert not (root / "train.zip").exists()
    assert capsys.readouterr().out == ""  # stdout belongs to --json
    kaggle(monkeypatch, fails(AssertionError("downloaded twice")))
    assert locate.get("nerve") == root


def test_a_data_set_is_unpacked_into_the_cache_after_an_interruption(cache, monkeypatch):
    def interrupted(_, output_dir):
        Path(output_dir).mkdir()
        Path(output_dir, "1.archive").touch()
        raise KeyboardInterrupt

    def download(handle, output_dir):
        assert handle == "aryashah2k/breast-ultrasound-images-dataset"
        assert not Path(output_dir).exists()  # kagglehub refuses a folder that is not empty
        Path(output_dir, "Dataset_BUSI_with_GT/normal").mkdir(parents=True)
        Path(output_dir, "Dataset_BUSI_with_GT/normal/normal (1).png").touch()

    kaggle(monkeypatch, interrupted, function="dataset_download")
    with pytest.raises(KeyboardInterrupt):
        locate.get("busi")
    assert locate.find("busi", None) is None
    kaggle(monkeypatch, download, function="dataset_download")
    assert locate.get("busi") == cache / "busi"
    assert [path.name for path in cache.iterdir()] == ["busi"]


def refusal(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return kagglehub.exceptions.KaggleApiHTTPError("several\nlines", response=response)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        pytest.param(kagglehub.exceptions.UnauthenticatedError(), InputError, "no Kaggle credentials", id="anonymous"),
        pytest.param(refusal(403), InputError, r"\(403\): check your credentials and accept the terms", id="terms"),
        pytest.param(refusal(401), InputError, r"\(401\): check your credentials", id="wrong-credentials"),
        pytest.param(refusal(500), WorkError, "status 500", id="server"),
        pytest.param(requests.ConnectionError("no\nroute"), WorkError, "no connection to Kaggle", id="no-network"),
        pytest.param(requests.Timeout(), WorkError, "no connection to Kaggle", id="timeout"),
        pytest.param(ValueError("Invalid Kaggle credentials\nfile"), InputError, "Invalid Kaggle cred", id="bad-json"),
        pytest.param(OSError(28, "No space left on device"), WorkError, "No space left on device", id="full-disk"),
        pytest.param(
            kagglehub.exceptions.DataCorruptionError("MD5 was:\n\n  a\n"), WorkError, "MD5 was: a", id="corrupt"
        ),
    ],
)
def test_what_goes_wrong_with_kaggle_is_one_line(monkeypatch, cache, error, kind, message):
    kaggle(monkeypatch, fails(error))
    with pytest.raises(kind, match=message) as refused:
        locate.get("nerve")
    assert "\n" not in str(refused.value)
    assert not (cache / "nerve").exists()


def test_unexpected_content_is_not_kept(monkeypatch, cache):
    kaggle(monkeypatch, lambda _, output_dir: Path(output_dir, "other").mkdir(parents=True))
    with pytest.raises(WorkError, match="what Kaggle sent is not as expected"):
        locate.get("nerve")
    assert not (cache / "nerve").exists()


def test_without_a_network_it_fails_at_once(monkeypatch):
    for proxy in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # the discard port: nobody listens, here or elsewhere
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr(kagglehub, "competition_download", fails(AssertionError("went on")))
    with pytest.raises(WorkError, match="no connection to Kaggle"):
        locate.get("nerve")


def test_without_kagglehub_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub.exceptions", None)
    with pytest.raises(InputError, match="kagglehub is not installed: install it, or get it from https://"):
        locate.get("nerve")


@pytest.mark.parametrize(("name", "message"), [("hc18", "hc18 is not on Kaggle: get it from"), ("folder", "--data")])
def test_what_kaggle_does_not_have(name, message):
    with pytest.raises(InputError, match=message):
        locate.get(name)
