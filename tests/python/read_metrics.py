"""Reads the metrics of a host from standard input with Prometheus's own parser and prints them as JSON: families by name,
each with its type, its help and its samples. Fails on text that is not the format, and on what Prometheus would not take:
a sample twice, a counter or bucket that is no number, a histogram whose buckets do not grow or do not add up."""

import json
import math
import sys

from prometheus_client.parser import text_string_to_metric_families


def main():
    families, seen = {}, set()
    for family in text_string_to_metric_families(sys.stdin.read()):
        if family.name in families:
            sys.exit(f"family {family.name} stands there twice")
        if not family.documentation or family.type == "unknown":
            sys.exit(f"family {family.name} has no help or no type")
        samples = []
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            if key in seen:
                sys.exit(f"sample {key} stands there twice")
            seen.add(key)
            if not math.isfinite(sample.value):
                sys.exit(f"sample {key} is {sample.value}")
            samples.append({"name": sample.name, "labels": sample.labels, "value": sample.value})
        if family.type == "histogram":
            check_histogram(family)
        families[family.name] = {"type": family.type, "samples": samples}
    json.dump(families, sys.stdout)


def check_histogram(family):
    """Buckets are cumulative and end with +Inf, which is the count."""
    buckets, counts = {}, {}
    for sample in family.samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[labels] = sample.value
    for labels, values in buckets.items():
        values.sort()
        numbers = [number for _, number in values]
        if numbers != sorted(numbers) or values[-1] != (math.inf, counts.get(labels)):
            sys.exit(f"the buckets of {family.name}{labels} do not add up: {values}")


main()
