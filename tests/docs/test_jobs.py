"""The jobs of the documentation: their syntax, and that the command has their options."""

import dataclasses
import re
import subprocess
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

from jaxadv.generate import Config

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
OPTIONS = {field.name.replace("_", "-") for field in dataclasses.fields(Config)}


def block(language):
    """The only one of a language."""
    tokens = MarkdownIt().parse(PAGE.read_text("utf-8"))
    [content] = [token.content for token in tokens if token.info == language]
    return content


def test_slurm():
    script = block("sh")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert set(re.findall(r"(?m)^#(?!!)(\w+)", script)) == {"SBATCH"}
    command = script.partition("python -m jaxadv.generate")[2]
    assert {"model", "data", "out"} <= set(re.findall(r" --([\w-]+)", command)) <= OPTIONS


def test_kubernetes():
    job = yaml.safe_load(block("yaml"))
    assert (job["kind"], job["spec"]["completionMode"]) == ("Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert {each["name"] for each in container["volumeMounts"]} == {
        each["name"] for each in pod["volumes"]
    }
    options = dict(each.removeprefix("--").split("=", 1) for each in container["args"])
    assert {"model", "data", "out"} <= {*options} <= OPTIONS
    assert int(options["processes"]) == job["spec"]["completions"]
