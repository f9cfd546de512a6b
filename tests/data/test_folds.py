from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfseg.data import DATASETS, folds
from tfseg.data.hygiene import check
from tfseg.data.sample import Sample
from tfseg.errors import InputError
from tfseg.runs import write_json

ROOT = Path("/data")


def sample(image: str, *, patient: str | None = None, stratum: str = "") -> Sample:
    return Sample(image=ROOT / image, patient=patient, stratum=stratum)


def patients(*images: int) -> list[Sample]:
    """Samples of one patient for each number, with that many images."""
    return [sample(f"{p}_{i}.png", patient=str(p)) for p, count in enumerate(images) for i in range(count)]


def draw(samples: list[Sample], **options) -> dict[str, list[str]]:
    return folds.draw(samples, folds.groups(samples, (), ROOT), ROOT, **({"seed": 0} | options))


def test_groups_are_patients():
    samples = [sample("a.png", patient="7"), sample("b.png", patient="8"), sample("c.png", patient="7")]
    assert folds.groups(samples, (), ROOT) == ["7", "8", "7"]


def test_patients_who_share_an_image_are_one_group():
    samples = [sample(f"{name}.png", patient=patient) for name, patient in zip("abcdef", "788912", strict=True)]
    found = folds.groups(samples, [("a.png", "b.png"), ("c.png", "d.png")], ROOT)
    assert found == ["7 + 8 + 9"] * 4 + ["1", "2"]
    chain = [sample(f"{number}.png", patient=str(number)) for number in range(6)]
    assert folds.groups(chain, [tuple(f"{number}.png" for number in range(6))], ROOT) == ["0 + 1 + 2 + 3 more"] * 6


def test_groups_are_near_duplicates_where_patients_are_unknown():
    samples = [sample(f"x/{name}.png") for name in "abcde"]
    found = folds.groups(samples, [("x/b.png", "x/e.png"), ("x/c.png", "x/d.png")], ROOT)
    assert found == ["group-1", "group-2", "group-3", "group-3", "group-2"]


def test_a_double_of_a_patients_image_is_that_patients():
    samples = [sample("a.png"), sample("b.png", patient="7"), sample("c.png")]
    assert folds.groups(samples, [("a.png", "b.png")], ROOT) == ["7", "7", "group-1"]


def test_labels_are_the_stratum_and_the_classes_that_are_drawn():
    samples = [sample("a.png", stratum="benign"), sample("b.png")]
    found = folds.labels(samples, {"nerve": ("b.png",), "vessel": ()}, ROOT)
    assert found == [{"stratum benign", "nerve", "vessel"}, {"vessel"}]


@settings(max_examples=40)  # each example deals up to 32 times
@given(
    images=st.lists(st.integers(1, 9), min_size=4, max_size=12),
    count=st.integers(2, 3),
    holdout=st.sampled_from([0.0, 0.01, 0.2]),
    seed=st.integers(0, 2**31 - 1),
    strata=st.integers(1, 3),
)
def test_folds_are_a_partition_that_parts_no_patient(images, count, holdout, seed, strata):
    samples = [
        sample(one.image.name, patient=one.patient, stratum=str(int(one.patient or 0) % strata))
        for one in patients(*images)
    ]
    split = draw(samples, folds=count, holdout=holdout, seed=seed)
    assert list(split) == [str(fold) for fold in range(count)] + (["holdout"] if holdout else [])
    assert sorted(name for names in split.values() for name in names) == sorted(one.image.name for one in samples)
    people = [{name.split("_")[0] for name in names} for names in split.values()]
    assert all(people)
    assert sum(map(len, people)) == len(images)
    assert draw(samples, folds=count, holdout=holdout, seed=seed) == split


def test_another_seed_draws_other_folds():
    samples = patients(*range(1, 21))
    assert len({str(draw(samples, folds=5, seed=seed)) for seed in range(5)}) == 5


def test_images_are_in_the_order_of_the_samples():
    split = draw(patients(*[1] * 20), folds=2)
    for names in split.values():
        assert names == sorted(names, key=lambda name: int(name.split("_")[0]))


@pytest.mark.parametrize("seed", range(10))
def test_folds_resemble_the_whole(seed):
    """47 subjects as in the nerve challenge, but far less even: images and empty masks are spread all the same."""
    rng = np.random.default_rng(seed)
    samples = patients(*rng.integers(20, 221, 47))
    share = rng.beta(2, 3, 47)  # of a subject's frames that show the nerve: 0.4, plus or minus 0.2
    shows = {one.image.name: rng.random() < share[int(one.patient or 0)] for one in samples}
    labels = [["nerve"] if shows[one.image.name] else [] for one in samples]
    split = draw(samples, folds=5, seed=seed, labels=labels, classes=["nerve"], holdout=0.2)
    assert len({name.split("_")[0] for name in split["holdout"]}) == 9  # a fifth of 47
    assert len(split["holdout"]) / len(samples) == pytest.approx(9 / 47, rel=0.05)
    assert np.mean([shows[name] for name in split.pop("holdout")]) == pytest.approx(
        np.mean(list(shows.values())), abs=0.02
    )
    sizes = np.array([len(names) for names in split.values()])
    shares = [np.mean([shows[name] for name in names]) for names in split.values()]
    assert np.abs(sizes / sizes.mean() - 1).max() < 0.05  # 0.024 was the worst of 30 such sets
    assert np.ptp(shares) < 0.07  # 0.046 was


def test_every_fold_has_its_share_of_each_stratum():
    strata = ["normal"] * 5 + ["malignant"] * 10 + ["benign"] * 20
    samples = [sample(f"{number}.png", stratum=stratum) for number, stratum in enumerate(strata)]
    for names in draw(samples, folds=5).values():
        kept = sorted(strata[int(name.removesuffix(".png"))] for name in names)
        assert kept == ["benign"] * 4 + ["malignant"] * 2 + ["normal"]


def test_a_holdout_that_is_asked_for_is_never_empty():
    split = draw(patients(3, 3, 3), folds=2, holdout=0.01)
    assert len(split["holdout"]) == 3


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (patients(9), {"folds": 5}, "1 patient cannot fill 5 folds"),
        (patients(2, 2, 2), {"folds": 3, "holdout": 0.1}, "3 patients cannot fill 3 folds and a hold-out of 1"),
        ([sample("a.png"), sample("b.png")], {"folds": 3}, "2 groups of near-duplicates cannot fill 3 folds"),
    ],
)
def test_too_few_groups(samples, options, message):
    with pytest.raises(InputError, match=f"^/data: {message}; ask for fewer folds or add data$"):
        draw(samples, **options)


def test_a_class_that_one_fold_would_keep_to_itself():
    samples = patients(3, 3, 3, 3)
    labels = [["nerve"] if one.patient == "2" else [] for one in samples]
    with pytest.raises(InputError, match=r"^/data: nerve is to be seen in 1 patient: too few") as caught:
        draw(samples, folds=2, labels=labels, classes=["nerve"])
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="vessel is to be seen in 0 patients"):
        draw(samples, folds=2, labels=labels, classes=["vessel"])
    draw(samples, folds=2, labels=labels)  # nobody learns that class


@pytest.mark.parametrize("seed", range(20))
def test_two_patients_with_a_class_are_kept_apart(seed):
    """By their sizes both belong into one fold, and its network would never see the class."""
    samples = patients(5, 5, 10)
    labels = [["nerve"] if one.image.name in ("0_0.png", "1_0.png") else [] for one in samples]
    split = draw(samples, folds=2, seed=seed, labels=labels, classes=["nerve"])
    assert all({"0_0.png", "1_0.png"} & set(names) for names in split.values())


def test_a_class_that_the_holdout_leaves_to_one_fold():
    samples = patients(1, 1, 1, 1)
    labels = [["nerve"] if one.patient in "01" else [] for one in samples]
    with pytest.raises(InputError, match="nerve is to be seen in 2 patients"):
        draw(samples, folds=2, holdout=0.5, labels=labels, classes=["nerve"])


def test_validation_is_parted_by_group():
    images = [one.image.name for one in patients(*[4] * 10)]
    people = [name.split("_")[0] for name in images]
    training, validation = folds.validation_split(images, people, share=0.2, seed=3)
    assert (len(training), len(validation)) == (32, 8)
    assert sorted(training + validation) == sorted(images)
    assert not {name.split("_")[0] for name in training} & {name.split("_")[0] for name in validation}
    assert folds.validation_split(images, people, share=0.2, seed=3) == (training, validation)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_both_sides_of_a_validation_split_have_somebody(share):
    training, validation = folds.validation_split(["a", "b"], ["1", "2"], share=share, seed=0)
    assert sorted(training + validation) == ["a", "b"]
    assert len(training) == 1


def test_validation_keeps_labels_in_proportion():
    images = [str(number) for number in range(40)]
    labels = [["nerve"] if number % 4 == 0 else [] for number in range(40)]
    _, validation = folds.validation_split(images, images, labels, share=0.2, seed=1)
    assert sorted(int(name) % 4 == 0 for name in validation) == [False] * 6 + [True] * 2


def test_one_patient_cannot_be_watched_and_learned_from():
    with pytest.raises(
        InputError, match=r"^validation = 0\.1: the 2 images that a fold trains on are all of '7', and nobody is left"
    ):
        folds.validation_split(["a", "b"], ["7", "7"], share=0.1, seed=0)


@pytest.mark.parametrize(
    "split",
    [
        pytest.param({"0": ["a"], "1": ["b"]}, id="an-image-is-missing"),
        pytest.param({"0": ["a", "b"], "1": ["b", "c"]}, id="an-image-is-in-two"),
        pytest.param({"0": ["a", "b", "c"], "1": []}, id="a-fold-is-empty"),
        pytest.param({"0": ["a", "c"], "1": ["b"]}, id="a-patient-is-in-two"),
    ],
)
def test_check_folds_sees_broken_promises(split):
    groups = {"a": "1", "b": "1", "c": "2"}
    folds.check_folds({"0": ["a", "b"], "1": ["c"]}, groups)
    with pytest.raises(AssertionError):
        folds.check_folds(split, groups)


def test_load_gives_back_what_was_drawn(tmp_path):
    samples = patients(2, 2, 2)
    split = draw(samples, folds=2, holdout=0.1)
    write_json(tmp_path / "folds.json", split)
    assert folds.load(tmp_path / "folds.json", samples, ROOT) == split


def test_load_refuses_other_images(tmp_path):
    path = tmp_path / "folds.json"
    write_json(path, {"0": ["0_0.png", "gone.png"], "1": ["0_1.png", "0_1.png"]})
    with pytest.raises(InputError) as caught:
        folds.load(path, patients(7), ROOT)
    assert str(caught.value) == (
        f"{path}: does not fit the images below /data (new: 0_2.png, 0_3.png, 0_4.png and 2 more; gone: gone.png; "
        "listed twice: 0_1.png); restore them, or choose another --out"
    )


@pytest.mark.parametrize(
    "content", [[], {}, {"0": ["a"]}, {"0": ["a"], "2": ["b"]}, {"0": ["a"], "1": "b"}, {"0": [1], "1": []}]
)
def test_load_refuses_what_is_no_list_of_folds(tmp_path, content):
    write_json(tmp_path / "folds.json", content)
    with pytest.raises(InputError, match="not a list of images for each"):
        folds.load(tmp_path / "folds.json", patients(1), ROOT)


def test_near_duplicates_across_the_two_folders_of_usgra_are_in_one_fold(shared_data):
    root = shared_data / "usgra"
    report = check(DATASETS["usgra"], root)
    samples = DATASETS["usgra"].samples(root)
    groups = folds.groups(samples, report.groups, root)
    labels = folds.labels(samples, report.empties, root)
    split = folds.draw(samples, groups, root, folds=5, seed=0, labels=labels, classes=["nerve", "vessel"])
    fold = {name: number for number, names in split.items() for name in names}
    assert len(set(groups)) == 209  # 244 images less the 35 doubles in 34 groups
    for first, second in (("0002", "0047"), ("0011", "0068"), ("0034", "0143"), ("0112", "0024")):
        assert fold[f"images/{first}.png"] == fold[f"test/images/{second}.png"]
    assert all(len({fold[name] for name in group}) == 1 for group in report.groups)
    assert {len(names) for names in split.values()} <= {48, 49, 50}
    for names in split.values():
        assert 4 <= len(set(names) & set(report.empties["vessel"])) <= 6  # 25 in all
