"""The demo does the whole main job."""

from __future__ import annotations

from pathlib import Path

from conftest import sslzoo


def test_the_demo_goes_from_pixels_to_a_published_encoder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = sslzoo("demo", "--epochs", "1", "--out", run)
    assert done.returncode == 0, done.stderr
    for said in ("rotation accuracy", "k-NN", "linear probe, best layer", "sslzoo.load_encoder(", "torch.hub.load("):
        assert said in done.stdout, said
    assert "pulled and verified" in done.stderr
    assert {path.name for path in (run / "evaluations").iterdir()} == {"knn.json", "linear.json"}
    assert "knn@1" in (run / "encoder" / "README.md").read_text()
    assert (run / "figures" / "pretraining.png").stat().st_size > 10_000
