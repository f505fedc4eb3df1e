"""The alerts, as the files beside this one hold them, and bound to one broker.

Knows that a series of a node carries the labels `namespace` and `broker`; does not know what an alert means.
Reads data of the package and nothing else.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

RUNBOOKS = "https://stoa.dev/runbooks"
"""Where the alerts say that their pages are; docs/runbooks holds them."""

# A metric of ours, or the one that Prometheus makes for each target, with its matchers if it has any.
_SELECTOR = re.compile(r"\b(stoa_\w+|up)\b(?:\{([^}]*)\})?")


@cache
def alert_files(about: str) -> Mapping[str, str]:
    """The rule files by the name of their alert. `about`: broker or operator."""
    folder = files(__package__) / "alerts" / about
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name)
    return {each.name.removesuffix(".yaml"): each.read_text("utf-8") for each in found}


def alert_groups(namespace: str, broker: str) -> list[dict[str, Any]]:
    """`spec.groups` of a PrometheusRule for this broker alone: other brokers have one of their own.

    Both are names of Kubernetes objects, so they need no quoting. The result belongs to the caller.
    """
    return [
        {
            "name": group["name"],
            "rules": [
                {**rule, "expr": scoped(rule["expr"], namespace=namespace, broker=broker)} for rule in group["rules"]
            ],
        }
        for group in _groups("broker")
    ]


def scoped(expression: str, **labels: str) -> str:
    """The expression with these labels asked for in every selector of a metric of ours."""
    wanted = ",".join(f'{name}="{value}"' for name, value in labels.items())

    def bound(selector: re.Match[str]) -> str:
        metric, matchers = selector.groups()
        return f"{metric}{{{matchers},{wanted}}}" if matchers else f"{metric}{{{wanted}}}"

    return _SELECTOR.sub(bound, expression)


@cache
def _groups(about: str) -> tuple[dict[str, Any], ...]:
    """Read once: parsing takes longer than everything else that is done for a broker."""
    return tuple(group for text in alert_files(about).values() for group in yaml.safe_load(text)["groups"])
