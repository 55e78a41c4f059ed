"""The stage that trains a model from nothing; its directory is a model folder that `transformers` loads as it is."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from starloom.errors import ConfigError
from starloom.models import presets
from starloom.models.config import ModelConfig
from starloom.stage import Facts, Stage, Work, external
from starloom.store import Built
from starloom.tokens.blend import check_weights, held_out_sets, open_packs
from starloom.tokens.bpe import Vocabulary
from starloom.tokens.dataset import check_tokens
from starloom.tokens.fim import FIM
from starloom.train.budget import Budget, Minutes, steps_in
from starloom.train.keep import Keep
from starloom.train.log import LOG
from starloom.train.schedule import Schedule
from starloom.train.settings import Adafactor, AdamW, Heldout, LossScale, Muon, Precision, Spike
from starloom.train.trackers import LIVE, TENSORBOARD, write_curves

if TYPE_CHECKING:
    from torch import Tensor

    from starloom.tokens.blend import Blend
    from starloom.tokens.dataset import Dataset
    from starloom.train.ahead import Ids
    from starloom.train.loop import Data, Job, Outcome
    from starloom.train.ranks import Ranks
    from starloom.train.samples import Sampler

MODEL = "model"  # the unit that holds the finished model


@dataclass(frozen=True, slots=True)
class Pretrain(Stage):
    """Train `model` on packed tokens, with fill-in-the-middle, for a budget in steps, tokens or minutes.

    Several packs of one vocabulary and context are blended with the weights of `mixture`; without any, in proportion to
    their tokens.
    """

    version: ClassVar[int] = 2
    collective: ClassVar[bool] = True

    packed: Stage | tuple[Stage, ...]
    model: ModelConfig = presets.QUICKSTART
    fim: FIM = FIM()  # noqa: RUF009  (frozen)
    budget: Budget = Minutes(3)  # noqa: RUF009
    batch: int = 4  # sequences computed at once
    accumulate: int = 1  # such batches a step
    optimizer: Muon | AdamW | Adafactor = Muon()  # noqa: RUF009
    schedule: Schedule = Schedule()  # noqa: RUF009
    clip: float | None = 1.0  # largest norm of the gradient; None: not clipped
    seed: int = 0
    precision: Precision = "auto"  # of matrix products; auto: bf16 where the hardware has it, else fp32; or fp16
    loss_scale: LossScale = LossScale()  # noqa: RUF009  (of fp16)
    patience: int = 8  # steps in a row that are skipped before the run ends, or goes back; our choice
    spike: Spike | None = None  # what is done when the loss rises far above the usual; none: nothing
    heldout: Heldout = Heldout()  # noqa: RUF009
    keep: Keep = Keep()  # noqa: RUF009  (checkpoints that stay)
    document_mask: bool = False  # attention does not look behind an end of document; as published, it does
    start: Stage | None = None  # the model to go on from: its weights alone; of an upstream stage
    start_folder: str = external("")  # or in a folder of its own
    recompute: bool = False  # keep only what goes into each layer, and compute it again: less memory, a third more time
    compile: bool = False  # let torch compile the layers; needs a C++ compiler, on a GPU triton
    mixture: tuple[float, ...] = ()  # weight of each pack; 0 leaves one out
    samples: int = 3  # written at each look; fewer tokens, or none, where they would cost more than 1 % of the run

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", self.packed if isinstance(self.packed, Stage) else tuple(self.packed))
        packs = 1 if isinstance(self.packed, Stage) else len(self.packed)
        if packs == 0:
            raise ConfigError("pretrain.packed holds no packs; give it one or more")
        check_weights(self.mixture, packs)
        for name in ("batch", "accumulate", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"pretrain.{name} is {getattr(self, name)}; use 1 or more")
        if self.start is not None and self.start_folder:
            raise ConfigError("pretrain goes on from start or from start_folder, not from both")
        if self.samples < 0:
            raise ConfigError(f"pretrain.samples is {self.samples}; use 0 for none, or more")
        if self.spike is not None and self.spike.every < self.patience:
            raise ConfigError(
                f"pretrain.spike.every is {self.spike.every}; it is at least pretrain.patience, {self.patience}"
            )
        if self.clip is not None and self.clip <= 0:
            raise ConfigError(f"pretrain.clip is {self.clip}; use a positive norm, or none")

    def external_digests(self) -> dict[str, str]:
        from starloom.train import start

        return {"start_folder": start.digest(self.start_folder)}

    def produce(self, work: Work) -> None:
        from starloom.train.checkpoint import Checkpoints
        from starloom.train.ranks import joined

        ranks = joined(work.runtime)
        facts = ranks.broadcast(work.finished(MODEL) if ranks.main else None)
        if facts is None:
            facts = self._train(work, ranks)
        if not ranks.main:
            return
        Checkpoints(work).clear()
        for name in ("steps", "tokens", "skipped"):
            work.count(**{name: facts[name]})
        work.summary = f"{facts['steps']:,} steps, {facts['tokens']:,} tokens, {facts['precision']}"
        if facts["heldout"] is not None:
            work.count(heldout_bits_per_byte=facts["heldout"]["bits_per_byte"])
            work.summary += f", held-out {facts['heldout']['bits_per_byte']:.3f} bits per byte"
            scored, there = facts["heldout"]["windows"], facts["heldout"]["windows_in_all"]
            for name, one in facts["validation"].items():
                work.count(validation_bits_per_byte={name: one["bits_per_byte"]})
            work.summary += "" if scored == there else f" ({scored:,} of {there:,} windows)"

    def _train(self, work: Work, ranks: Ranks) -> Facts:
        from starloom.train import loop
        from starloom.train.out_of_memory import explained
        from starloom.train.ranks import losing

        packed = work.many("packed")
        dataset = open_packs(packed, self.mixture)
        config = self.fitted(dataset.vocabulary, dataset.context)
        size = self.batch * self.accumulate

        def batch(step: int, rank: int, ranks: int) -> Ids:
            lines = lines_of(size, rank, ranks)
            return dataset.batch(seed=self.seed, step=step, size=size, fim=self.fim, lines=lines)

        data = loop.Data(
            batch=batch,
            tokens_a_step=size * dataset.context,
            context=dataset.context,
            byte_lengths=dataset.vocabulary.byte_lengths,
            heldout=held_out_sets(packed),
            save_model=lambda folder, weights: save_model(folder, config, weights, dataset.vocabulary),
            check=lambda stopped: check_tokens(packed, stopped),
        )
        with losing(ranks), explained(self.batch, self.accumulate, dataset.context, self.recompute):
            return self._run(work, ranks, config, data, dataset)

    def _run(self, work: Work, ranks: Ranks, config: ModelConfig, data: Data, dataset: Dataset | Blend) -> Facts:
        from starloom.train import hardware, loop, sharding

        packed = work.many("packed")
        start = self._start(work, config, packed[0])
        resolved = ranks.broadcast(work.resolve(lambda: self._resolve(config, data, work, ranks)))
        work.resolved = resolved
        hardware.say_what_differs(resolved, work.runtime)
        if resolved["precision"] == "fp16" and resolved["device"] == "cpu":
            work.runtime.progress.line("fp16 is emulated on a CPU, some hundred times as slow as fp32: for trials only")
        threads = resolved["threads"] if resolved["ranks"] == work.runtime.ranks else work.runtime.threads
        job = self.job(config, resolved["precision"], threads, resolved["device"], start)
        data = replace(data, sampler=self._sampler(packed, dataset.vocabulary, resolved, data.tokens_a_step))
        outcome = loop.train(job, data, resolved["steps"], work, ranks)
        weights = sharding.gathered(outcome.model, ranks)
        return ranks.broadcast(self._write(work, outcome, weights, dataset.vocabulary) if ranks.main else {})

    def cost(self) -> str:
        from starloom.tokens import Pack, TrainBPE
        from starloom.train.plan import brief

        model, context = self.model, self.model.context
        packed = self.packed if isinstance(self.packed, Stage) else self.packed[0]
        if isinstance(packed, Pack):
            context = packed.context
            if isinstance(packed.vocab, TrainBPE):
                model = replace(model, vocab_size=packed.vocab.vocab_size, bos_token_id=None, eos_token_id=None)
        return brief(model, context, self.batch * self.accumulate * context, self.budget, self.precision)

    def fitted(self, vocabulary: Vocabulary, context: int) -> ModelConfig:
        """The model with the vocabulary's size and end of document. Raises ConfigError when the context is too long."""
        if context > self.model.context:
            raise ConfigError(
                f"the tokens are packed to a context of {context:,}, but the model has {self.model.context:,} "
                f"positions; use pretrain.model.{self.model.context_field}={context} or pack.context={self.model.context}"
            )
        end = vocabulary.end_of_document
        return replace(self.model, vocab_size=vocabulary.rows, bos_token_id=end, eos_token_id=end)

    def _start(self, work: Work, config: ModelConfig, packed: Built) -> Path | None:
        """The folder of the model that training goes on from, checked."""
        from starloom.train import start

        if self.start is not None:
            return start.checked(start.unharmed(work.input("start")), config, packed)
        return start.checked(start.outside(self.start_folder), config, packed) if self.start_folder else None

    def job(
        self, config: ModelConfig, precision: Precision, threads: int, device: str, start: Path | None = None
    ) -> Job:
        """What the loop is asked for."""
        from starloom.train.loop import Job

        return Job(
            config=config,
            optimizer=self.optimizer,
            schedule=self.schedule,
            clip=self.clip,
            accumulate=self.accumulate,
            seed=self.seed,
            patience=self.patience,
            heldout=self.heldout,
            precision=precision,
            loss_scale=self.loss_scale,
            spike=self.spike,
            document_mask=self.document_mask,
            recompute=self.recompute,
            compile=self.compile,
            threads=threads,
            device=device,
            keep=self.keep,
            start=start,
        )

    def _resolve(self, config: ModelConfig, data: Data, work: Work, ranks: Ranks) -> dict[str, Any]:
        """Steps, precision and threads: found out once, before the first step, and kept for every run that goes on."""
        from starloom.train import hardware, loop
        from starloom.train.peak import peak

        runtime = work.runtime
        precision = hardware.choose_precision(self.precision, runtime.device)
        packed, said = work.many("packed"), self.settings()
        found: dict[str, Any] = {
            "precision": precision,
            "threads": runtime.threads,
            "ranks": runtime.ranks,
            "tensor_parallel": runtime.tensor_parallel,
            "device": runtime.device,
            **hardware.describe(),
            "batches": {  # what `starloom follow` draws them again from while there is no manifest
                "settings": {name: said[name] for name in ("seed", "batch", "accumulate", "fim", "mixture")},
                "packed": packed[0].fingerprint if len(packed) == 1 else [one.fingerprint for one in packed],
            },
        }
        with hardware.repeatable(runtime.threads, runtime.device):
            found["peak"] = peak(runtime.device, precision)
        times = None
        if isinstance(self.budget, Minutes):
            job = self.job(config, precision, runtime.threads, runtime.device)
            times = loop.step_times(job, data, 60 * self.budget.minutes, ranks)
            found["calibration"] = {"steps": len(times), "median_s": statistics.median(times)}
        return {**found, "steps": steps_in(self.budget, data.tokens_a_step, times)}

    def _sampler(
        self, packed: Sequence[Built], vocabulary: Vocabulary, resolved: Mapping[str, Any], tokens_a_step: int
    ) -> Sampler | None:
        """What writes at the looks; None where that would take too long, or nothing is held out."""
        from starloom.train import samples

        trained = resolved["steps"] * tokens_a_step
        tokens = samples.tokens_each(self.samples, self.heldout.times, trained, resolved["device"])
        found = samples.openings(packed, self.samples, self.seed) if tokens else ()
        return samples.Sampler(found, vocabulary, tokens, self.seed) if found else None

    def _write(self, work: Work, outcome: Outcome, weights: Mapping[str, Tensor], vocabulary: Vocabulary) -> Facts:
        """The finished model folder as one unit."""
        from starloom.train.samples import SAMPLES, write_samples

        state = outcome.state
        scores = {name: {**asdict(one), "bits_per_byte": one.bits_per_byte} for name, one in outcome.scores.items()}
        with work.unit(MODEL) as unit:
            save_model(unit.folder, outcome.model.config, weights, vocabulary)
            shutil.copyfile(work.directory / LOG, unit.path(LOG))
            write_samples(work.directory / LOG, unit.path(SAMPLES))
            write_curves(work.directory / LOG, unit.folder / TENSORBOARD)
            unit.facts.update(
                steps=state.step,
                tokens=state.tokens,
                skipped=state.skipped,
                seconds=round(state.seconds, 3),
                precision=work.resolved["precision"],
                parameters=outcome.model.config.parameter_count(),
                heldout=scores.pop("", None),
                validation=scores,
            )
        shutil.rmtree(work.directory / TENSORBOARD / LIVE, ignore_errors=True)
        return unit.facts


def save_model(folder: Path, config: ModelConfig, weights: Mapping[str, Tensor], vocabulary: Vocabulary) -> None:
    """A model folder that `transformers` loads, its tokenizer in it."""
    from starloom.models import checkpoint

    checkpoint.save(folder, config, weights)
    for name, content in vocabulary.files(max_length=config.context).items():
        (folder / name).write_bytes(content)


def lines_of(size: int, rank: int, ranks: int) -> slice:
    """The lines of a step's batch that one of several ranks computes. Raises ConfigError where they are not equally many."""
    if size % ranks:
        raise ConfigError(
            f"a step's {size} sequences (pretrain.batch × pretrain.accumulate) do not divide among {ranks} processes; "
            f"use a multiple of {ranks}"
        )
    return slice(rank * size // ranks, (rank + 1) * size // ranks)
