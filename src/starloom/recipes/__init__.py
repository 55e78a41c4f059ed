"""Recipes: functions that read like a paper's method section and return a Journey."""

from __future__ import annotations

from starloom.registry import Registry

RECIPES = Registry(
    "recipe",
    {
        "corpus": "starloom.recipes.corpus:corpus",
        "quickstart": "starloom.recipes.quickstart:quickstart",
        "santacoder": "starloom.recipes.santacoder:santacoder",
    },
)
