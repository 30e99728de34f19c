"""What load_matching is given: checked before anything is done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_initlab.model_init.graph import check_built
from keras_initlab.model_init.transfer.pairing import RULES
from keras_initlab.model_init.transfer.saved_names import SavedLayer

__all__ = ["check_model", "check_used", "checked_rename", "checked_rules", "some"]


def check_model(model: Any) -> None:
    """Refuse what is no model, is not built or has no weights."""
    check_built(model)
    if not model.weights:
        raise ValueError(f"Argument `model` must have weights. Received: model={model.name!r}, which has none.")


def checked_rules(rules: Any) -> tuple[str, ...]:
    """Names of rules, one or several."""
    order = (rules,) if isinstance(rules, str) else tuple(rules) if isinstance(rules, Iterable) else (rules,)
    if (
        not order
        or len(set(map(str, order))) < len(order)
        or any(not isinstance(rule, str) or rule not in RULES for rule in order)
    ):
        raise ValueError(
            f"Argument `rules` must be one or several of {', '.join(map(repr, RULES))}, none twice. "
            f"Received: rules={rules!r}. To rename saved weights, pass rename={{pattern: replacement}}."
        )
    return order


def checked_rename(rename: Any) -> list[tuple[str, str]]:
    """Pairs of a pattern and its replacement."""
    pairs = rename.items() if isinstance(rename, Mapping) else rename or ()
    for item in pairs if isinstance(pairs, Iterable) else [pairs]:
        if not (isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(text, str) for text in item)):
            raise TypeError(
                "Argument `rename` must be a dictionary of regular expressions and replacements, or a list of such "
                f"pairs. Received: rename={rename!r}."
            )
        try:
            re.sub(item[0], item[1], "")
        except (re.error, IndexError) as error:
            raise ValueError(
                f"Argument `rename` must hold valid regular expressions. Received: {item[0]!r} with the replacement "
                f"{item[1]!r}: {error}."
            ) from None
    return [(pattern, replacement) for pattern, replacement in pairs]


def check_used(patterns: list[tuple[str, str]], saved: list[SavedLayer]) -> None:
    """Refuse a pattern that fits no name: most likely it is misspelt."""
    names = [weight.name for layer in saved for weight in layer.weights.values()]
    current = names
    for pattern, replacement in patterns:
        if not any(re.search(pattern, name) for name in current):
            raise ValueError(
                f"Argument `rename` must hold patterns that occur in the names of the saved weights. Received: "
                f"{pattern!r}, which does not. The file has {some(names)}."
            )
        current = [re.sub(pattern, replacement, name) for name in current]


def some(names: Sequence[str]) -> str:
    """The first few names, for an error."""
    return ", ".join(repr(name) for name in names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")
