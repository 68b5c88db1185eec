"""Repositories on the loopback hub: who may do what, what is told of them, and what their cards must say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub import errors as hub_errors

from sslzoo.testing.loopback import LoopbackHub
from sslzoo.testing.loopback.objects import Blob

CARD = b"---\nlicense: apache-2.0\nlibrary_name: timm\ntags: [sslzoo]\n---\nhttps://arxiv.org/abs/1803.07728\n"
FILES = {"README.md": CARD, "model.safetensors": bytes(range(256)) * 500}

Read = Callable[..., bytes]


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("tester/x")
    return api


@pytest.fixture
def read(api: HfApi, tmp_path: Path) -> Read:
    """Download one file into a cache of its own."""
    caches = (tmp_path / f"cache{number}" for number in range(100))

    def read(path: str, repo: str = "tester/x", **options: Any) -> bytes:
        return Path(api.hf_hub_download(repo, path, cache_dir=next(caches), **options)).read_bytes()

    return read


def status_of(error: pytest.ExceptionInfo[hub_errors.HfHubHTTPError]) -> int:
    return error.value.response.status_code


def test_repository_is_created_once(hub: LoopbackHub, api: HfApi) -> None:
    with pytest.raises(hub_errors.HfHubHTTPError) as error:
        api.create_repo("tester/x")
    assert status_of(error) == 409
    assert api.create_repo("tester/x", exist_ok=True) == f"{hub.endpoint}/tester/x"
    assert api.create_repo("new-org/y", repo_type="dataset").repo_id == "new-org/y"
    assert [org["name"] for org in api.whoami()["orgs"]] == ["new-org"]
    stranger = HfApi(endpoint=hub.endpoint, token=hub.issue_token("stranger"))
    for name in ("tester/z", "new-org/z"):
        with pytest.raises(hub_errors.HfHubHTTPError) as error:
            stranger.create_repo(name)
        assert status_of(error) == 403


def test_private_repository_shows_itself_to_its_owner_only(hub: LoopbackHub, api: HfApi, read: Read) -> None:
    hub.repo("tester/x").write({"a.txt": b"secret"})
    api.update_repo_settings("tester/x", private=True)
    assert read("a.txt") == b"secret"
    for token, status in ((False, 401), (hub.issue_token("stranger"), 404)):
        with pytest.raises(hub_errors.RepositoryNotFoundError) as error:
            read("a.txt", token=token)
        assert status_of(error) == status
        assert list(api.list_models(token=token)) == []
    assert [model.private for model in api.list_models()] == [True]


def test_gated_repository_shows_itself_but_not_its_files(hub: LoopbackHub, api: HfApi, read: Read) -> None:
    hub.repo("tester/x").write({"a.txt": b"for some"})
    api.update_repo_settings("tester/x", gated="manual")
    stranger = hub.issue_token("stranger")
    assert api.model_info("tester/x", token=stranger).gated == "manual"
    with pytest.raises(hub_errors.GatedRepoError):
        read("a.txt", token=stranger)
    with pytest.raises(hub_errors.GatedRepoError):
        api.auth_check("tester/x", token=stranger)
    api.auth_check("tester/x", write=True)


def test_token_decides_what_is_allowed(hub: LoopbackHub, api: HfApi, read: Read) -> None:
    assert api.whoami()["name"] == "tester"
    with pytest.raises(hub_errors.HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_wrong")
    with pytest.raises(hub_errors.HfHubHTTPError, match="Invalid credentials") as error:
        read(".gitattributes", token="hf_wrong")
    assert not isinstance(error.value, hub_errors.RepositoryNotFoundError)
    for token, status in (
        (False, 401),
        (hub.issue_token("tester", role="read"), 403),
        (hub.issue_token("stranger"), 403),
    ):
        assert read(".gitattributes", token=token)
        with pytest.raises(hub_errors.HfHubHTTPError) as error:
            api.upload_file(repo_id="tester/x", path_or_fileobj=b"a", path_in_repo="a", token=token)
        assert status_of(error) == status


def test_moved_repository_is_found_under_both_names_and_a_deleted_one_under_none(
    hub: LoopbackHub, api: HfApi, read: Read
) -> None:
    hub.repo("tester/x").write(FILES)
    api.move_repo("tester/x", "lab/y")
    for name in ("tester/x", "lab/y"):
        assert read("model.safetensors", name) == FILES["model.safetensors"]
        assert api.model_info(name).id == "lab/y"
    api.upload_file(repo_id="tester/x", path_or_fileobj=b"1", path_in_repo="new.txt")
    assert hub.repo("lab/y").files()["new.txt"] == b"1"
    api.delete_repo("lab/y")
    assert not api.repo_exists("lab/y")
    assert not api.repo_exists("single-name")
    api.delete_repo("lab/y", missing_ok=True)


@pytest.mark.parametrize(
    ("card", "complaint"),
    [
        ("---\ntags: [a\n---\n", "cannot be read"),
        ("---\n- a\n---\n", "not a mapping"),
        ("---\nlicense: Apache 2.0\n---\n", "identifiers"),
        ("---\ntags: [1]\n---\n", '"tags" must be a string or a list of strings'),
        (
            "---\nmodel-index: [{name: a, results: [{}]}]\n---\n",
            r'"model-index\[0\].results\[0\].task.type" is required',
        ),
    ],
)
def test_bad_card_is_refused(hub: LoopbackHub, api: HfApi, card: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        api.upload_file(repo_id="tester/x", path_or_fileobj=card.encode(), path_in_repo="README.md")
    assert "README.md" not in hub.repo("tester/x").files()


def test_card_without_metadata_draws_a_warning(api: HfApi) -> None:
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.upload_file(repo_id="tester/x", path_or_fileobj=b"# Model", path_in_repo="README.md")


def test_repository_is_described_by_its_card(hub: LoopbackHub, api: HfApi) -> None:
    hub.repo("tester/x").write(FILES)
    model = api.model_info("tester/x", files_metadata=True)
    assert (model.library_name, model.sha) == ("timm", hub.repo("tester/x").branches["main"])
    assert model.tags == ["timm", "safetensors", "sslzoo", "license:apache-2.0", "arxiv:1803.07728", "region:us"]
    weights = next(sibling for sibling in model.siblings or [] if sibling.rfilename == "model.safetensors")
    assert weights.lfs and weights.lfs.sha256 == Blob(FILES["model.safetensors"]).sha256
    assert api.model_info("tester/x", expand=["sha"]).siblings is None


def test_models_are_listed_by_what_they_are(hub: LoopbackHub, api: HfApi) -> None:
    for name in ("tester/y", "lab/z"):
        api.create_repo(name)
    hub.repo("lab/z").write({"README.md": CARD})
    api.create_repo("tester/data", repo_type="dataset")

    def names(**query: Any) -> list[str]:
        return [model.id for model in api.list_models(**query)]

    assert sorted(names()) == ["lab/z", "tester/x", "tester/y"]
    assert sorted(names(author="tester")) == ["tester/x", "tester/y"]
    assert names(filter=["timm", "license:apache-2.0"]) == ["lab/z"]
    assert names(filter=["timm", "license:mit"]) == []
    assert names(search="Z") == ["lab/z"]
    assert names(sort="last_modified", limit=1) == ["lab/z"]
    assert [data.id for data in api.list_datasets()] == ["tester/data"]


def test_long_lists_come_in_pages() -> None:
    with LoopbackHub(page_size=3) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        for name in "abcdefgh":
            api.create_repo(f"tester/{name}")
        hub.repo("tester/a").write({f"{number}.txt": b"" for number in range(7)})
        for number in range(4):
            hub.repo("tester/b").write({"a.txt": str(number).encode()})
        with hub.watch() as requests:
            assert len(list(api.list_models())) == 8
            assert len(list(api.list_repo_tree("tester/a"))) == 8
            assert len(api.list_repo_commits("tester/b")) == 5
        assert len(requests) == 3 + 3 + 2
