import itertools
import threading
import time

import numpy as np
import pytest

from jaxseg.data import Augment, Batch, Cached, Scenes, Skipped, batch_shapes, train_batches
from jaxseg.errors import InputError

SOURCE = Scenes(0, 11, (24, 32))
AUGMENT = Augment((20, 20), (0.7, 1.4), 0.5)


def take(count: int, source=SOURCE, **options) -> list[Batch]:
    options = {"seed": 5, "batch_size": 4, "augment": AUGMENT, **options}
    batches = train_batches(source, **options)
    try:
        return list(itertools.islice(batches, count))
    finally:
        batches.close()


def assert_same(batches: list[Batch], expected: list[Batch]):
    assert len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        assert (one.step, one.names) == (other.step, other.names)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)


def test_shapes():
    (batch,) = take(1)
    assert (batch.image.shape, batch.image.dtype) == ((4, 20, 20, 3), np.uint8)
    assert (batch.label.shape, batch.label.dtype) == ((4, 20, 20), np.uint8)
    assert len(batch.names) == 4


def test_every_epoch_holds_every_example_once_in_another_order():
    names = [n for b in take(11) for n in b.names]  # 4 epochs of 11; batches straddle them
    epochs = [names[i : i + 11] for i in range(0, 44, 11)]
    assert all(sorted(e) == sorted(SOURCE.name(i) for i in range(11)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == 4


def test_an_example_is_augmented_anew_every_time():
    pictures = {}
    for batch in take(11):
        for name, image in zip(batch.names, batch.image, strict=True):
            pictures.setdefault(name, set()).add(image.tobytes())
    assert all(len(p) == 4 for p in pictures.values())


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"prefetch": 0}, {"threads": 3, "prefetch": 1}]
)
def test_threads_change_nothing(options):
    assert_same(take(7, **options), take(7))


def test_seeds_differ():
    assert take(1)[0].names != take(1, seed=6)[0].names


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("start", [1, 3, 9])
def test_seeking_continues_the_run(start):
    assert_same(take(12 - start, start_step=start), take(12)[start:])


def test_seeking_far_reads_nothing_else():
    reads = []

    class Recording(Scenes):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    start = time.perf_counter()
    (batch,) = take(1, Recording(0, 11, (24, 32)), start_step=10**9, threads=0)
    assert len(reads) == 4
    assert time.perf_counter() - start < 5
    assert_same([batch], take(1, start_step=10**9))


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("processes", [2, 4, 8])
def test_processes_get_the_parts_of_the_batch_of_one(processes):
    options = {"start_step": 2, "batch_size": 8}
    parts = [take(6, process_index=p, process_count=processes, **options) for p in range(processes)]
    whole = [
        Batch(
            batch[0].step,
            np.concatenate([b.image for b in batch]),
            np.concatenate([b.label for b in batch]),
            [n for b in batch for n in b.names],
        )
        for batch in zip(*parts, strict=True)
    ]
    assert_same(whole, take(6, **options))


def test_a_cache_changes_nothing():
    assert_same(take(7, Cached(SOURCE)), take(7))


def test_a_source_of_one_example():
    (batch,) = take(1, Scenes(0, 1, (24, 32)))
    assert batch.names == ["train-0-0"] * 4


@pytest.mark.slow
def test_worker_processes_change_nothing():
    assert_same(take(6, workers=2), take(6))


@pytest.mark.slow
def test_worker_processes_seek():
    assert_same(take(5, workers=2, start_step=3, threads=1, prefetch=1), take(8)[3:])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_file_surfaces_from_a_worker(devkit, workers):
    expect_broken_file(devkit, workers=workers)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_broken_file_surfaces_from_a_thread(devkit, threads):
    expect_broken_file(devkit, threads=threads)


def expect_broken_file(devkit, **options):
    source = devkit.open()
    path = devkit.root / "JPEGImages/p2.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as caught:
        take(5, source, **options)
    with pytest.raises(InputError) as direct:
        source[2]
    assert type(caught.value) is InputError
    assert str(caught.value) == str(direct.value)
    assert (caught.value.problem, caught.value.remedy) == (
        direct.value.problem,
        direct.value.remedy,
    )
    assert str(path) in caught.value.problem


def test_other_errors_stay_what_they_are():
    def broken(example, rng):
        raise ZeroDivisionError("in the augmentation")

    with pytest.raises(ZeroDivisionError, match="in the augmentation"):
        take(1, augment=broken)


def test_sizes_that_do_not_fit_into_a_batch(devkit):
    with pytest.raises(
        InputError, match="wide and .* high, so they do not fit into one batch.*augment.crop"
    ):
        take(3, devkit.open(), augment=Augment())
    assert len(take(3, devkit.open(), augment=Augment(), batch_size=1)) == 3


def test_sampling_with_replacement_draws_from_all_examples():
    batches = take(60, sampling="replacement", augment=Augment(), batch_size=11)
    counts = {SOURCE.name(i): 0 for i in range(11)}
    for batch in batches:
        for name in batch.names:
            counts[name] += 1
    # 60 times 11 draws from 11 examples: with replacement the counts are not all equal
    assert all(30 < count < 95 for count in counts.values())
    assert any(len(set(batch.names)) < 11 for batch in batches)
    assert len({tuple(batch.names) for batch in batches}) == 60


def test_sampling_with_replacement_is_a_function_of_the_position():
    options = {"sampling": "replacement"}
    whole = take(6, **options)
    assert_same(take(3, start_step=3, **options), whole[3:])
    parts = [take(6, process_index=p, process_count=2, **options) for p in range(2)]
    names = [a.names + b.names for a, b in zip(*parts, strict=True)]
    assert names == [batch.names for batch in whole]
    assert take(1, seed=6, **options)[0].names != whole[0].names


def test_sizes_share_a_batch_when_padded(devkit):
    source = devkit.open()  # 13×17 twice, 1×5, 32×9, 21×21
    options = {"augment": Augment(), "pad_to": 8, "fill": (7, 8, 9)}
    batches = take(12, source, batch_size=2, **options)
    by_name = {source.name(i): source[i] for i in range(5)}
    shapes = set()
    for batch in batches:
        height, width = batch.label.shape[1:]
        shapes.add((height, width))
        sizes = [by_name[name].label.shape for name in batch.names]
        assert height == -(-max(h for h, _ in sizes) // 8) * 8
        assert width == -(-max(w for _, w in sizes) // 8) * 8
        for name, image, label in zip(batch.names, batch.image, batch.label, strict=True):
            h, w = by_name[name].label.shape
            np.testing.assert_array_equal(image[:h, :w], by_name[name].image)
            np.testing.assert_array_equal(label[:h, :w], by_name[name].label)
            assert (label[h:] == 255).all() and (label[:, w:] == 255).all()
            assert (image[h:] == (7, 8, 9)).all() and (image[:, w:] == (7, 8, 9)).all()
    assert 1 < len(shapes) <= batch_shapes(source, 8, batch_size=2)
    assert batch_shapes(source, 8) == 4 and batch_shapes(source, None) == 4
    assert batch_shapes(source, 64) == batch_shapes(source, 64, batch_size=2) == 1
    # processes agree on the shape, although each sees only its own part
    parts = [
        take(12, source, batch_size=2, process_index=p, process_count=2, **options)
        for p in range(2)
    ]
    for whole, *both in zip(batches, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([b.label for b in both]), whole.label)


def spoil(devkit, *names):
    for name in names:
        path = devkit.root / f"JPEGImages/{name}.jpg"
        path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("options", [{}, {"sampling": "replacement"}, {"pad_to": 8}])
def test_a_bad_file_is_skipped_told_once_and_counted(devkit, options):
    options = {"augment": Augment((9, 9)), **options}
    if "pad_to" in options:
        options["augment"] = Augment()
    clean = take(8, devkit.open(), **options)
    spoil(devkit, "p1", "p3")
    told = []
    skipped = Skipped(2, told.append)
    batches = take(8, devkit.open(), skipped=skipped, **options)
    assert len(told) == len(skipped.problems) == 2
    assert all(any(f"{n}.jpg cannot be decoded" in t for t in told) for n in ("p1", "p3"))
    assert skipped.summary().count("\n") == 2
    names = [n for b in batches for n in b.names]
    assert not {"p1", "p3"} & set(names) and {"p0", "p2", "p4"} <= set(names)
    for batch, before in zip(batches, clean, strict=True):
        assert batch.image.shape == before.image.shape
        for slot, name in enumerate(before.names):  # good examples keep their slots
            if name not in ("p1", "p3"):
                np.testing.assert_array_equal(batch.image[slot], before.image[slot])
    again = take(8, devkit.open(), skipped=Skipped(2, told.append), **options)
    assert_same(again, batches)
    far = take(3, devkit.open(), skipped=Skipped(2, told.append), start_step=5, **options)
    assert_same(far, batches[5:])


@pytest.mark.slow
def test_worker_processes_replace_and_report_bad_files(devkit):
    spoil(devkit, "p1")
    skipped = [Skipped(1, lambda line: None) for _ in range(2)]
    options = {"augment": Augment((9, 9)), "sampling": "replacement"}
    batches = take(8, devkit.open(), skipped=skipped[0], **options)
    assert_same(take(8, devkit.open(), skipped=skipped[1], workers=2, **options), batches)
    assert skipped[0].problems == skipped[1].problems != []


@pytest.mark.slow
def test_too_many_bad_files_end_the_run(devkit):
    spoil(devkit, "p1", "p3")
    with pytest.raises(
        InputError, match="2 files are bad, but data.skip_limit allows 1. The last problem"
    ):
        take(20, devkit.open(), skipped=Skipped(1, print), augment=Augment((9, 9)))
    spoil(devkit, "p0", "p2", "p4")
    with pytest.raises(InputError, match="100 examples in a row are bad"):
        take(1, devkit.open(), skipped=Skipped(9, print), augment=Augment((9, 9)))


def test_only_bad_files_are_skipped():
    def broken(example, rng):
        raise ZeroDivisionError("in the augmentation")

    with pytest.raises(ZeroDivisionError, match="in the augmentation"):
        take(1, augment=broken, skipped=Skipped(9, print))


def test_closing_stops_the_threads():
    before = threading.active_count()
    take(2, threads=4, prefetch=8)
    deadline = time.time() + 5
    while threading.active_count() > before and time.time() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch of 0"),
        ({"process_count": 3}, "batch of 4 cannot be split evenly over 3"),
        ({"process_count": 2, "process_index": 2}, "process_index is 2"),
        ({"seed": -1}, "seed is -1"),
        ({"start_step": -1}, "start_step -1"),
        ({"threads": -1}, "threads is -1"),
        ({"sampling": "shufle"}, "sampling is 'shufle'. Did you mean 'shuffle'"),
    ],
)
def test_arguments_are_checked_before_anything_is_read(options, message):
    with pytest.raises(InputError, match=message):
        train_batches(SOURCE, **{"seed": 0, "batch_size": 4, "augment": AUGMENT, **options})
