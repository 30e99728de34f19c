"""Initializers, activations and optimizers as a grid names them: text that says the same in a file and in Python."""

from __future__ import annotations

import abc
import ast
import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras

from keras_initlab.initializers.arguments import Activation, Argument
from keras_initlab.initializers.registry import PACKAGE, REGISTRY

__all__ = ["ActivationName", "InitializerName", "OptimizerName"]


class _Named(Argument, abc.ABC):
    """The name of a class, and in brackets after it those of its arguments that are not the default."""

    ours: tuple[str, ...]
    """Arguments that have a key of their own in the grid, or none at all."""

    @abc.abstractmethod
    def make(self, config: dict[str, Any]) -> Any:
        """The object, of Keras's config for it."""

    @abc.abstractmethod
    def known(self) -> Iterable[str]:
        """Names to propose."""

    def check(self, name: str, value: Any) -> str:
        """Return the text in its normal form: two that mean the same are equal."""
        if not isinstance(value, str):
            raise self.refuse(TypeError, name, value)
        try:
            config = _parsed(value)
        except (SyntaxError, ValueError) as error:
            raise self.refuse(ValueError, name, value, f"{error}.") from error
        for key in self.ours:
            if key in config["config"]:
                raise self.refuse(ValueError, name, value, f"Give `{key}` as a key of the grid.")
        try:
            made = self.make(config)
        except (TypeError, ValueError, KeyError) as error:
            raise self.refuse(ValueError, name, value, self._mend(config["class_name"], error)) from error
        try:
            default = self.make({"class_name": config["class_name"], "config": {}}).get_config()
        except (TypeError, ValueError, KeyError):  # not without arguments
            default = {}
        changed = {k: v for k, v in made.get_config().items() if k not in self.ours and default.get(k, made) != v}
        arguments = ", ".join(f"{k}={v!r}" for k, v in changed.items())
        return f"{keras.saving.get_registered_name(type(made))}" + (f"({arguments})" if arguments else "")

    def _mend(self, name: str, error: Exception) -> str:
        """The nearest right name; of a right name, what its class says of the arguments."""
        known = {name.lower(): name for name in self.known()}
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        if near and near[0].replace("_", "") != name.lower().replace("_", ""):
            return f"Did you mean {known[near[0]]!r}?"
        return f"It says: {str(error).strip().splitlines()[-1]}"


@dataclass(frozen=True)
class InitializerName(_Named):
    """An initializer of this package, of Keras, or of the caller's own, registered one."""

    allowed = (
        'the name of an initializer: "keras_initlab>HeNormal" of this package, "HeNormal" or "he_normal" of Keras, '
        'with arguments "RandomNormal(stddev=0.01)"'
    )
    ours = ("seed",)

    def make(self, config: dict[str, Any]) -> Any:
        """The initializer; the config is left as it is."""
        made = keras.initializers.get({**config, "config": dict(config["config"])})
        if not isinstance(made, keras.initializers.Initializer):
            raise ValueError(f"{config['class_name']!r} is no initializer")
        return made

    def known(self) -> Iterable[str]:
        """All of Keras and of this package."""
        return (*_classes(keras.initializers, keras.initializers.Initializer), *(f"{PACKAGE}>{n}" for n in REGISTRY))

    def law(self, text: str) -> Callable[[int], Any]:
        """What makes the initializer of a checked text with a seed, where it takes one."""
        config = _parsed(text)
        if "seed" not in self.make(config).get_config():
            return lambda seed: self.make(config)
        return lambda seed: self.make({**config, "config": {**config["config"], "seed": seed}})


@dataclass(frozen=True)
class OptimizerName(_Named):
    """An optimizer of Keras, or of the caller's own, registered one."""

    allowed = 'the name of an optimizer of Keras, such as "adam", with arguments "SGD(momentum=0.9)"'
    ours = ("learning_rate", "name")

    def make(self, config: dict[str, Any]) -> Any:
        """The optimizer; the config is left as it is."""
        return keras.optimizers.get({**config, "config": dict(config["config"])})

    def known(self) -> Iterable[str]:
        """All of Keras."""
        return _classes(keras.optimizers, keras.optimizers.Optimizer)

    def optimizer(self, text: str, learning_rate: float) -> Any:
        """The optimizer of a checked text."""
        config = _parsed(text)
        return self.make({**config, "config": {**config["config"], "learning_rate": learning_rate}})

    def default_rate(self, text: str) -> float:
        """The learning rate that the optimizer has when nobody says, which Keras hands out in float32."""
        return float(f"{float(self.make(_parsed(text)).get_config()['learning_rate']):.7g}")


@dataclass(frozen=True)
class ActivationName(Activation):
    """The name of an activation that works on one number at a time."""

    allowed = 'the name of a Keras activation that takes one number, such as "tanh"; "linear" is none'
    mend = ""

    def check(self, name: str, value: Any) -> str:
        """Return the name that Keras gives it."""
        if not isinstance(value, str):
            raise self.refuse(TypeError, name, value)
        return str(super().check(name, value))


def _parsed(text: str) -> dict[str, Any]:
    """Keras's config for the text `Name(argument=value, ...)`."""
    name, bracket, rest = text.partition("(")
    name = name.strip()
    if not bracket:
        return {"class_name": name, "config": {}}
    call = ast.parse(f"_({rest}", mode="eval").body
    if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
        raise ValueError("In brackets stand arguments with their names")
    return {"class_name": name, "config": {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}}


def _classes(module: Any, base: type) -> list[str]:
    return [name for name, cls in vars(module).items() if inspect.isclass(cls) and issubclass(cls, base)]
