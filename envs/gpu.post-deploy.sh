#!/usr/bin/env bash
# What Snakemake runs once in an environment that it has made (--sdm conda): lartpc itself, from the workflow's checkout.
set -euo pipefail
pip install --no-deps --editable "${LARTPC_SOURCE:?snakemake sets it: the folder of the checkout}"
