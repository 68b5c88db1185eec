"""The pretraining loop, the same for every method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sslzoo.batches import Batches
from sslzoo.checkpoint import load_checkpoint, save_checkpoint
from sslzoo.config import PretrainConfig, UserError
from sslzoo.data.decoded import keep_decoded
from sslzoo.data.source import Source
from sslzoo.data.stream import Stream
from sslzoo.display import Display
from sslzoo.doctor import Doctor, Monitor, Trouble, Watch
from sslzoo.encoders import create_encoder, spec_of
from sslzoo.handover import Sheet, hand_over
from sslzoo.interrupt import Interrupt, Interrupted
from sslzoo.log import Log, flat
from sslzoo.machine import Resolved, splits_batch_statistics, start_accelerator
from sslzoo.method import Batch, PretextMethod
from sslzoo.nn.channels_last import weights_channels_last
from sslzoo.nn.ema import ema_update, frozen_copy
from sslzoo.nn.small_maps import pad_small_maps
from sslzoo.optimizers import build_optimizer, rate_at, set_rate
from sslzoo.profiling import Profile
from sslzoo.recipes import settle
from sslzoo.record import write_record
from sslzoo.run import Clock, Progress, Run
from sslzoo.views.keyed import Draw


def pretrain(
    method_type: type[PretextMethod],
    method_config: Any,
    config: PretrainConfig,
    source: Source | Stream,
    out: Path,
    validation: Source | None = None,
    labelled: Source | None = None,
) -> Path:
    """Pretrain, or go on exactly where a stopped run in ``out`` left off; return ``out``.

    Raises:
        UserError: for anything the user can mend, in one line.
        Interrupted: after Ctrl-C or SIGTERM, once the checkpoint is written.
    """
    resolved, record = settle(method_type, method_config, config, source, out)
    if not record["finished"]:
        source = keep_decoded(source, config)
        validation, labelled = (given and keep_decoded(given, config) for given in (validation, labelled))
        training = Training(method_type, method_config, config, resolved, source, validation, record, out, labelled)
        training.restore()
        training.train()
        training.finish()
    return out


class Training:
    """One run in progress: build, restore, steps, finish."""

    def __init__(
        self,
        method_type: type[PretextMethod],
        method_config: Any,
        config: PretrainConfig,
        resolved: Resolved,
        source: Source | Stream,
        validation: Source | None,
        record: dict[str, Any],
        out: Path,
        labelled: Source | None = None,
    ) -> None:
        self.config, self.record, self.out = config, record, out
        self.accelerator = accelerator = start_accelerator(config, resolved, out)
        seed_everything(config.seed, "initial weights")
        encoder = create_encoder(
            config.encoder, config.image_size, config.channels, config.encoder_args, frames=config.frames
        )
        method = method_type(encoder, method_config)
        pad_small_maps(method)
        if config.channels_last:
            weights_channels_last(method)
        if config.sync_batch_norm and accelerator.num_processes > 1 and accelerator.device.type == "cuda":
            method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
        self.method = method
        self.monitor = Monitor(method.encoder, config, validation or source, labelled, accelerator, resolved.workers)
        self.wrapped, self.optimizer = accelerator.prepare(method, build_optimizer(method, config))
        if config.compile:
            self.wrapped = torch.compile(self.wrapped)

        views = method_type.views(method_config, spec_of(encoder).input)
        size = config.batch_size // accelerator.num_processes
        self.profile = Profile(resolved, size, exact=config.profile)
        self.batches = Batches(source, validation, views, config, resolved.workers, accelerator, self.profile)
        order = self.batches.order
        self.progress = Progress(0, order.steps_per_epoch, config.epochs * order.steps_per_epoch)
        self.run = Run(out, accelerator, self.progress, source, order.num_samples, self.optimizer)
        method.on_start(self.run)
        self.average = frozen_copy(method.trained_encoder()) if config.ema else None
        self.watch = Watch()
        self.sheet = Sheet(method, record, out, self.batches.shown()) if config.illustrate else None

    @property
    def published(self) -> nn.Module:
        """The encoder that would be handed over now."""
        return self.method.trained_encoder() if self.average is None else self.average

    # A run is its folder.

    def restore(self) -> None:
        """Take up the newest checkpoint; where there is none, the run begins and its record is written."""
        saved = load_checkpoint(self.out / "state")
        if saved is None:
            if self.accelerator.is_main_process:
                write_record(self.out, self.record)
            return
        if saved["run"] != self.record["id"]:
            raise UserError(
                f"{self.out / 'state'} holds a checkpoint of another run; put this run's back, or choose another --out"
            )
        self.method.load_state_dict(saved["method"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        self.progress.step, self.progress.seconds = saved["step"], saved["seconds"]
        self.batches.tally.load_state_dict(saved["tally"])

    def save(self) -> None:
        """Write a checkpoint of this moment, unless it is one of trouble that ends the run."""
        self.heed(self.watch.trouble(self.accelerator))
        if self.accelerator.is_main_process:
            scaler, average = self.accelerator.scaler, self.average
            state = {
                "run": self.record["id"],
                "step": self.progress.step,
                "seconds": self.progress.seconds,
                "tally": self.batches.tally.state_dict(),
                "method": self.method.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": None if average is None else average.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            save_checkpoint(self.out / "state", self.progress.step, state)

    # Views -> loss -> step -> hooks.

    def train(self) -> None:
        """All steps that are left."""
        config, progress, main = self.config, self.progress, self.accelerator.is_main_process
        title = f"{self.method.info.name} {config.encoder}"
        self.log = Log(self.out, self.accelerator, progress.step)
        self.doctor = Doctor(self.method.info.family, self.method.feature_dim, self.log.past)
        with Interrupt() as self.interrupt, Display(title, progress.total_steps, progress.step, main) as self.display:
            if splits_batch_statistics(self.accelerator, self.method):
                self.display.warn("batch norm", "batch norm takes its statistics on each process alone")
            if progress.step:
                self.display.say(f"going on in {self.out} after step {progress.step} of {progress.total_steps}")
            self.profile.start(progress.total_steps - progress.step)
            while progress.step < progress.total_steps:
                self.epoch(progress.epoch)
            if config.profile and main:
                self.display.profile(self.profile.save(self.out))

    def epoch(self, epoch: int) -> None:
        """From where the run stands to the end of its epoch."""
        progress, config = self.progress, self.config
        if progress.at_epoch_start:
            seed_everything(config.seed, "epoch", epoch)
            self.method.on_epoch_start(self.run)
        self.method.train()
        self.clock = Clock(progress)
        for micro_batches in self.batches.steps(epoch, progress.step % progress.steps_per_epoch):
            losses = self.step(micro_batches)
            progress.step += 1
            with self.profile("hooks"):
                self.method.on_step_end(self.run)
                if self.average is not None:
                    ema_update(self.average, self.method.trained_encoder(), config.ema)
            ended = progress.at_epoch_start
            with self.profile("logging"):
                self.watch.see(progress.step, losses)
                self.display.step(progress.step)
                if ended or progress.step % config.log_every == 0:
                    self.report(epoch, losses, ended)
            wanted = self.interrupted(ended)
            due = progress.step % config.save_every == 0 if config.save_every else ended
            if due or wanted or progress.step == progress.total_steps:
                with self.profile("checkpoint"):
                    self.save()
            self.profile.step()
            if wanted:
                raise Interrupted(f"stopped after step {progress.step}; run the same command again to go on from there")

    def step(self, micro_batches: list[Batch]) -> dict[str, Tensor]:
        """One optimizer step; returns the losses, averaged over its micro-batches."""
        config, progress = self.config, self.progress
        # What the model draws (dropout, drop path) is a function of step and process: there is no state to save.
        seed_everything(config.seed, "step", progress.step, self.accelerator.process_index)
        self.rate = rate_at(config, progress.step, progress.steps_per_epoch)
        set_rate(self.optimizer, self.rate)
        means: dict[str, Tensor] = {}
        for batch in micro_batches:
            with self.accelerator.accumulate(self.wrapped):
                with self.profile("forward"):
                    losses = self.wrapped(batch)
                with self.profile("backward"):
                    self.accelerator.backward(losses["loss"])
                with self.profile("optimizer"):
                    if self.accelerator.sync_gradients and config.clip_grad:
                        self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip_grad)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
            for name, value in losses.items():
                means[name] = means.get(name, 0) + value.detach() / len(micro_batches)
        return means

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The pretext task's scores on held-out samples, whose views are the same every time."""
        self.method.eval()
        sums: dict[str, Tensor] = {}
        count = 0
        for batch in self.batches.held_out():
            size = len(batch["index"])
            with self.accelerator.autocast():
                losses = self.method(batch)
            sums = {name: sums.get(name, 0) + value * size for name, value in losses.items()}
            count += size
        self.method.train()
        return {name: float(value) / count for name, value in sums.items()}

    # What people see.

    def report(self, epoch: int, losses: dict[str, Tensor], ended: bool) -> None:
        """Log this step; stop a run that cannot come to good."""
        progress = self.progress
        scores = self.mean_over_processes(losses)
        speed = self.clock.lap() * self.config.batch_size
        seen = self.monitor.look(self.published, progress.step, ended)
        line: dict[str, Any] = {"step": progress.step, "epoch": epoch, "lr": self.rate, **scores}
        line |= {"samples_per_second": round(speed, 1), **seen}
        if unreadable := len(self.batches.tally):
            line["unreadable"] = unreadable
        if ended and self.batches.validation is not None:
            line["validation"] = self.validate()
        self.log.write(line)
        self.display.scores(scores, speed)
        if ended:
            held_out = {f"held-out {name}": value for name, value in line.get("validation", {}).items()}
            self.display.epoch(epoch + 1, self.config.epochs, scores | held_out | flat(seen), speed)
            if self.sheet is not None and self.accelerator.is_main_process:
                when = f"epoch {epoch + 1} of {self.config.epochs}, step {progress.step}"
                self.sheet.draw(when, scores | held_out)
        self.batches.share_tally()
        self.heed(self.watch.trouble(self.accelerator))
        self.heed(self.doctor.examine(line))

    def heed(self, trouble: Trouble | None) -> None:
        """Stop the run, or say what is wrong with it, as ``stop_on`` wants."""
        if trouble is None:
            return
        if trouble.stops(self.config.stop_on):
            raise UserError(f"{trouble.text}; see {self.log.path}")
        self.display.warn(trouble.kind, trouble.text)

    def mean_over_processes(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Logged scores as numbers. This waits for the device, so it is done for logged steps only."""
        losses = losses | self.monitor.spread()
        values = torch.stack([value.float() for value in losses.values()])
        return dict(zip(losses, self.accelerator.reduce(values, "mean").tolist(), strict=True))

    def interrupted(self, ended: bool) -> bool:
        """Whether any process was asked to stop. Several processes ask each other only when they log."""
        if self.accelerator.num_processes == 1:
            return self.interrupt.wanted
        if not (ended or self.progress.step % self.config.log_every == 0):
            return False
        wanted = torch.tensor(float(self.interrupt.wanted), device=self.accelerator.device)
        return bool(self.accelerator.reduce(wanted, "sum"))

    def finish(self) -> None:
        """Hand over the encoder; the run is finished."""
        if self.accelerator.is_main_process:
            self.record |= {"finished": True, "steps": self.progress.step, "seconds": round(self.progress.seconds, 1)}
            hand_over(self.method, self.published, self.record, self.out, self.batches.shown())
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()


def seed_everything(seed: int, *purpose: int | str) -> None:
    """Set torch's generators to a state that is a function of the run's seed and a purpose."""
    torch.manual_seed(int(Draw.root(seed).at("model", *purpose).key))
