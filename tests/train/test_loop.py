"""Training: what is learned, the same again from a seed, on from a checkpoint, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.ir.errors import SecateurError
from secateur.ir.interpreter import run

from . import tiny

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-train installs it")

from secateur.train.data import Augmentation, Labelled, load  # noqa: E402
from secateur.train.loop import Training, accuracy  # noqa: E402
from secateur.train.network import Network  # noqa: E402
from secateur.train.recipe import Recipe  # noqa: E402

RECIPE = Recipe(epochs=4, batch=32, rate=0.1)


def labelled(count: int, seed: int = 0) -> Labelled:
    images, labels = tiny.images(count, seed)
    return Labelled(torch.from_numpy(images), torch.from_numpy(labels))


def learned(network: Network) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in network.parameters()]


def same(a: Network, b: Network) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(learned(a), learned(b), strict=True))


class InterruptError(Exception):
    """What stops a training in a test."""


def test_training_teaches_and_the_graph_knows_it() -> None:
    network, held_out = Network(tiny.graph()), labelled(90, 1)
    before = accuracy(network, held_out)
    epochs = Training(labelled(320), RECIPE, held_out).fit(network)
    assert before < 0.6 < 0.9 < epochs[-1].accuracy == accuracy(network, held_out)
    assert epochs[-1].loss < epochs[0].loss / 2
    assert [e.number for e in epochs] == [0, 1, 2, 3]
    graph = network.graph()
    answers = [run(graph, {"input": x[None].numpy()})["output"].argmax() for x in held_out.images[:30]]
    assert np.mean(np.array(answers) == held_out.labels[:30].numpy()) > 0.9


def test_the_same_seed_gives_the_same_network() -> None:
    networks = [Network(tiny.graph()) for _ in range(3)]
    augment = Augmentation(shift=1, flip=True)
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        Training(labelled(96), replace(RECIPE, epochs=2, seed=seed), augment=augment).fit(network)
    assert same(networks[0], networks[1])
    assert not same(networks[0], networks[2])


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, first, second = (Network(tiny.graph()) for _ in range(3))
    augment = Augmentation(shift=1, flip=True)
    training = Training(labelled(96), RECIPE, augment=augment)
    expected = training.fit(whole)

    def stop(_network: Network, epoch: int) -> None:
        if epoch == 2:
            raise InterruptError

    checkpointed = replace(training, checkpoint=tmp_path / "tiny.pt")
    with pytest.raises(InterruptError):
        replace(checkpointed, before_epoch=(stop,)).fit(first)
    found = checkpointed.fit(second)
    assert [(e.number, e.loss) for e in found] == [(e.number, e.loss) for e in expected]
    assert same(whole, second)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.pt"]


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    training = Training(labelled(96), RECIPE, checkpoint=tmp_path / "tiny.pt")
    first, again, steps = Network(tiny.graph()), Network(tiny.graph()), list[str]()
    training.fit(first)
    replace(training, progress=lambda what, _done, _total: steps.append(what)).fit(again)
    assert steps == []
    assert same(first, again)


def test_checkpoints_of_other_trainings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    training = Training(labelled(96), replace(RECIPE, epochs=1), checkpoint=path)
    training.fit(Network(tiny.graph()))
    with pytest.raises(SecateurError, match=r"tiny\.pt: is a checkpoint of another training"):
        replace(training, recipe=replace(RECIPE, epochs=2)).fit(Network(tiny.graph()))
    path.write_bytes(b"no checkpoint")
    with pytest.raises(SecateurError, match=r"tiny\.pt: is no checkpoint"):
        training.fit(Network(tiny.graph()))


def test_a_teacher_is_learned_from() -> None:
    teacher, pupil = Network(tiny.graph()), Network(tiny.graph(1))
    Training(labelled(320), RECIPE).fit(teacher)
    before = learned(teacher)
    wrong = Labelled(labelled(320).images, torch.zeros(320, dtype=torch.int64))  # labels teach nothing
    recipe = replace(RECIPE, distillation=1.0)
    Training(wrong, recipe, teacher=teacher).fit(pupil)
    assert accuracy(pupil, labelled(90, 1)) > 0.9
    assert all(np.array_equal(a, b) for a, b in zip(before, learned(teacher), strict=True))


def test_progress_is_told_of_every_step() -> None:
    told: list[tuple[str, int, int]] = []
    training = Training(labelled(70), replace(RECIPE, epochs=2), progress=lambda *what: told.append(what))
    training.fit(Network(tiny.graph()))
    assert told == [("epoch 1", 1, 2), ("epoch 1", 2, 2), ("epoch 2", 1, 2), ("epoch 2", 2, 2)]


def test_the_rate_rises_and_falls() -> None:
    rates = [Recipe(rate=0.5, warmup=0.25).rate_at(step, 100) for step in range(100)]
    assert max(rates) == rates[25] == 0.5
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[-1] < 0.001
    assert Recipe(rate=0.5, warmup=0).rate_at(0, 10) == 0.5


def test_images_are_moved_within_their_frame() -> None:
    images = torch.arange(1.0, 1 + 4 * 5).reshape(1, 1, 4, 5).repeat(200, 2, 1, 1)
    moved = Augmentation(shift=1, flip=True, fill=-9.0)(images, torch.Generator().manual_seed(0), 0)
    assert moved.shape == images.shape
    assert torch.equal(moved[:, 0], moved[:, 1])
    framed = np.pad(images[0, 0].numpy(), 1, constant_values=-9.0)
    possible = {framed[i : i + 4, j : j + 5].tobytes() for i in range(3) for j in range(3)}
    framed = np.pad(images[0, 0].numpy()[:, ::-1], 1, constant_values=-9.0)
    possible |= {framed[i : i + 4, j : j + 5].tobytes() for i in range(3) for j in range(3)}
    assert {image[0].numpy().tobytes() for image in moved} == possible
    assert torch.equal(Augmentation()(images, torch.Generator(), 0), images)


def test_data_is_read_with_its_labels(tmp_path: Path) -> None:
    images, labels = tiny.images(7)
    np.savez(tmp_path / "data.npz", input=images, labels=labels)
    data = load(tmp_path / "data.npz", tiny.graph())
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)


def test_a_folder_of_classes_is_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for label, name in enumerate(("boot", "coat", "dress")):
        (tmp_path / name).mkdir()
        for number in range(label + 1):
            grey = np.full((tiny.SIDE, tiny.SIDE), 50 * label, np.uint8)
            image.fromarray(grey).save(tmp_path / name / f"{number}.png")
    data = load(tmp_path, tiny.graph())
    assert data.labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert data.images[:, 0, 0, 0].tolist() == pytest.approx(
        [0, 50 / 255, 50 / 255, 100 / 255, 100 / 255, 100 / 255]
    )


def test_a_split_loses_no_image() -> None:
    data = labelled(20)
    rest, held = data.split(6, seed=3)
    assert (len(rest), len(held)) == (14, 6)
    together = torch.cat([rest.images, held.images]).flatten(1).sum(1)
    assert torch.equal(together.sort().values, data.images.flatten(1).sum(1).sort().values)
    with pytest.raises(SecateurError, match="20 of 20 images cannot be held out"):
        data.split(20)


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(SecateurError, match="31 images are too few: a batch is 32"):
        Training(labelled(31), RECIPE).fit(Network(tiny.graph()))
    beyond = Labelled(labelled(40).images, torch.full((40,), tiny.CLASSES))
    for training in (Training(beyond, RECIPE), Training(labelled(64), RECIPE, beyond)):
        with pytest.raises(
            SecateurError, match="label 3 is no class: the network tells 3 apart, which are 0 to 2"
        ):
            training.fit(Network(tiny.graph()))
    with pytest.raises(SecateurError, match="epochs is 0"):
        Recipe(epochs=0)
    with pytest.raises(SecateurError, match="3 images have 2 labels"):
        Labelled(torch.zeros(3, 1), torch.zeros(2))
