"""What a run leaves beside its steps: links to the newest models, and the revisions that its journey publishes."""

from __future__ import annotations

import os
from pathlib import Path

from starloom.journey import Journey
from starloom.store import Built, Store

HUB = "hub"  # folder of a store that holds what is published


def link_models(store: Store, recipe: str, results: dict[str, Built]) -> dict[str, Path]:
    """Point `models/RECIPE` at the newest model folder, a name that stays when fingerprints change."""
    models = {}
    for name, built in results.items():
        if not {"config.json", "model.safetensors"} <= set(built.manifest["files"]):
            continue
        label = name.partition(":")[2]
        link = store.root / "models" / (recipe.rpartition(":")[2] + (f"-{label}" if label else ""))
        link.parent.mkdir(exist_ok=True)
        fresh = link.with_name(f".{link.name}.{os.getpid()}")
        fresh.symlink_to(Path("..") / built.directory.name)
        fresh.replace(link)
        models[name] = link
    return models


def publish_revisions(
    store: Store, journey: Journey, results: dict[str, Built], recipe: str
) -> dict[str, dict[str, str]]:
    """Publish what the journey names, when all of it is built. Returns model → revision → commit."""
    published: dict[str, dict[str, str]] = {}
    for one in journey.revisions:
        from starloom.hub import Card, publish
        from starloom.train.checkpoint import kept

        built = results[one.step]
        label = one.step.partition(":")[2]
        scores = {
            name: results[step].manifest["summary"]
            for name, step in (("held-out", f"held_out:{label}"), ("exact match", f"infilling:{label}"))
            if step in results
        }
        about = Card(recipe=recipe, published=one.system, about=one.about, scores=tuple(scores.items()))
        commit = publish(store.root / HUB, one.model, one.revision, built, kept(built), also=one.also, about=about)
        for revision in (one.revision, *one.also):
            published.setdefault(one.model, {})[revision] = commit.id
    return published
