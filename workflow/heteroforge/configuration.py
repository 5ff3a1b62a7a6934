"""Check a campaign's configuration and describe its keys.

Every fault is one line that names the key, the value and what was expected.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from ase.data import chemical_symbols
from jsonschema import Draft202012Validator, ValidationError, validators

from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.pseudoatoms import reference_configuration

__all__ = [
    "ANSWERS",
    "ConfigurationError",
    "asked_for",
    "check_configuration",
    "describe_configuration",
    "elements_covered",
    "interpret_configuration",
    "library_sources",
    "read_schema",
    "published_tables",
    "structures_to_predict",
]

# Answers of the Materials Project are kept here, beside other downloads.
ANSWERS = "resources/downloads/materials_project"
# Copies of published tables, where a user has downloaded them (docs/sources.md).
TABLES = "resources/downloads/tables"


class ConfigurationError(ValueError):
    """A fault of the configuration, told in one line."""


def read_schema(path: str | Path) -> dict:
    """Read the schema of the configuration (JSON)."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def interpret_configuration(config: object, schema: Mapping, node: Mapping | None = None) -> object:
    """The configuration with numbers and nulls that arrive as text read as what they are.

    Values nested in `snakemake --config 'targets={gap_ev: [1, 2]}'` are all text, and YAML takes
    1e-3 for text. Text stays text where the schema asks for text or the value means nothing else.
    A window set to null is taken out: overlays can only add keys, so this is how they remove one.
    """
    node = _resolve(schema if node is None else node, schema)
    if isinstance(config, Mapping):
        properties = node.get("properties", {})
        read = {
            key: interpret_configuration(value, schema, properties.get(key, {}))
            for key, value in config.items()
        }
        windows = {key for key, child in properties.items() if child.get("window")}
        removable = windows.difference(node.get("required", []))
        return {k: v for k, v in read.items() if k not in removable or v not in (None, "null")}
    if isinstance(config, list):
        return [interpret_configuration(v, schema, node.get("items", {})) for v in config]
    kinds = node.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(config, str) or not kinds:
        return config
    if "null" in kinds and config in ("null", "~"):
        return None
    if "boolean" in kinds and config.lower() in ("true", "false"):
        return config.lower() == "true"
    for kind, convert in (("integer", int), ("number", float)):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return convert(config)
    return config


def check_configuration(config: Mapping, schema: Mapping, root: str | Path = ".") -> None:
    """Check a configuration against its schema, and its values against each other and the files.

    Args:
        config: the merged configuration.
        schema: JSON schema. Besides the standard's keywords it may use `window` (a pair
            [low, high] in order, null for an open end), `element` (a chemical symbol) and
            `formula` (of a stack); `expected` is the text of the message where the keywords say
            too little.
        root: folder that relative paths start from.

    Raises:
        ConfigurationError: the first fault found; unknown keys come before wrong values.
    """
    _check_keys(config, schema, schema, "")
    faults = sorted(_VALIDATOR(schema).iter_errors(config), key=lambda fault: fault.json_path)
    if faults:
        raise ConfigurationError(_message(faults[0], schema))
    _check_latent(config)
    _check_samples(config)
    _check_files(config, Path(root))


# --- schema -----------------------------------------------------------------------------------


def _check_window(_validator, wanted, value, _schema) -> Iterator[ValidationError]:
    if not wanted or not isinstance(value, list):
        return
    if len(value) != 2:
        yield ValidationError("a window [low, high]")
    elif value == [None, None]:
        yield ValidationError("a window with at least one end that is not null")
    elif all(_is_number(end) for end in value) and value[0] > value[1]:
        yield ValidationError("a window [low, high] with low ≤ high")


def _check_element(_validator, wanted, value, schema) -> Iterator[ValidationError]:
    # Place 0 of ASE's list is the ghost atom X.
    if wanted and isinstance(value, str) and value not in chemical_symbols[1:]:
        yield ValidationError(schema["expected"])


def _check_formula(_validator, wanted, value, schema) -> Iterator[ValidationError]:
    if wanted and isinstance(value, str):
        # Imported here: other campaigns do without.
        from heteroforge.structures import StructureError
        from heteroforge.structures.formula import StackFormula

        try:
            StackFormula.parse(value)
        except StructureError:
            yield ValidationError(schema["expected"])


_VALIDATOR = validators.extend(
    Draft202012Validator,
    {"window": _check_window, "element": _check_element, "formula": _check_formula},
)


def _check_keys(config: object, node: Mapping, schema: Mapping, path: str) -> None:
    properties = node.get("properties")
    if properties is None or not isinstance(config, Mapping):
        return
    for key, value in config.items():
        name = f"{path}{key}"
        if key not in properties:
            near = difflib.get_close_matches(str(key), list(properties), n=1, cutoff=0.6)
            hint = f"did you mean {path}{near[0]}?" if near else f"known: {', '.join(properties)}"
            raise ConfigurationError(f"unknown key {name} (value {_show(value)}): {hint}")
        _check_keys(value, _resolve(properties[key], schema), schema, f"{name}.")


def _message(fault: ValidationError, schema: Mapping) -> str:
    key = ".".join(
        str(part) if isinstance(part, str) else f"[{part}]" for part in fault.absolute_path
    ).replace(".[", "[")
    if fault.validator == "required":
        missing = [name for name in fault.validator_value if name not in fault.instance]
        name = f"{key}.{missing[0]}" if key else missing[0]
        return f"{name}: missing; expected {_expected(fault.schema['properties'][missing[0]])}"
    own = fault.validator in ("window", "element", "formula")
    expected = fault.message if own else _expected(_resolve(fault.schema, schema))
    return f"{key or 'configuration'} = {_show(fault.instance)}: expected {expected}"


def _expected(node: Mapping) -> str:
    """Words for what a schema node allows."""
    if "expected" in node:
        return str(node["expected"])
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    text = _type_name(node)
    if node.get("window"):
        return text
    low, above, high = (node.get(k) for k in ("minimum", "exclusiveMinimum", "maximum"))
    limits = [
        f"≥ {low:g}" if low is not None else "",
        f"> {above:g}" if above is not None else "",
        f"≤ {high:g}" if high is not None else "",
    ]
    limits = " and ".join(limit for limit in limits if limit)
    if limits:
        text += f" {limits}"
    return f"{text} ({node['unit']})" if "unit" in node else text


def _type_name(node: Mapping) -> str:
    names = {
        "string": "text",
        "integer": "an integer",
        "number": "a number",
        "boolean": "true or false",
        "null": "null",
        "array": "a list",
        "object": "a mapping of keys",
    }
    if node.get("window"):
        return "a window [low, high]"
    if "enum" in node:
        return ", ".join(map(str, node["enum"]))
    kinds = node.get("type", "string")
    return " or ".join(names[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _resolve(node: Mapping, schema: Mapping) -> Mapping:
    if "$ref" not in node:
        return node
    target: Mapping = schema
    for part in node["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


# --- values against files ---------------------------------------------------------------------


def _check_latent(config: Mapping) -> None:
    """The latent needs two numbers per layer and interface, and one to choose how many layers."""
    fewest, most = config["stacks"]["number_of_layers"]
    least = 2 * (2 * most - 1) + int(fewest < most)
    given = config["gvae"]["latent_dimensions"]
    if given < least:
        raise ConfigurationError(
            f"gvae.latent_dimensions = {given}: expected at least {least} for {most} layers"
        )


def _check_samples(config: Mapping) -> None:
    """A mode has the seeds and the model it needs; formula and defects fit the number of layers.

    What the library can give sampling tells.
    """
    mode, given = config["samples"]["mode"], len(config["samples"]["seeds"])
    if (mode == "around" and given == 0) or (mode == "interpolate" and given != 2):
        wanted = "two stacks" if mode == "interpolate" else "at least one stack"
        raise ConfigurationError(
            f"samples.seeds = {_show(config['samples']['seeds'])}: expected {wanted} with "
            f"samples.mode {mode}"
        )
    if mode == "conditional" and config["gvae"]["conditional_steps"] == 0:
        raise ConfigurationError(
            "gvae.conditional_steps = 0: expected steps of training with samples.mode conditional"
        )
    formula, (fewest, most) = config["samples"]["formula"], config["stacks"]["number_of_layers"]
    if formula and "/" in formula and not fewest <= formula.count("/") + 1 <= most:
        raise ConfigurationError(
            f"samples.formula = {_show(formula)}: expected {fewest} to {most} layers, as "
            "stacks.number_of_layers says"
        )
    number, substrate = config["samples"]["defects"]["number"], config["samples"]["substrate"]
    # Names of layers with defects have a colon: such a substrate is the layer with the defect.
    on_another = number > 0 and substrate and ":" not in substrate
    if on_another and fewest == 1 and not (formula and "/" in formula):
        raise ConfigurationError(
            f"stacks.number_of_layers = [1, {most}]: expected two layers at least with "
            "samples.defects on a samples.substrate, which is a layer without"
        )


def _check_files(config: Mapping, root: Path) -> None:
    _check_sources(config["library"], root)
    labels, dft = config["labels"], config["dft"]
    structures = config["prediction"]["structures"]
    if structures is not None and not (root / structures).exists():
        raise ConfigurationError(
            f"prediction.structures = {_show(structures)}: expected an existing file or folder"
        )
    try:
        dft["launcher"].format(ranks=1)
    except (KeyError, IndexError, ValueError):
        raise ConfigurationError(
            f"dft.launcher = {_show(dft['launcher'])}: expected auto, or a command in which only "
            "{ranks} is in braces"
        ) from None
    command = dft["launcher"].split()
    if not command:
        raise ConfigurationError("dft.launcher is blank: expected auto, or a command")
    if Path(command[0]).name == "srun" and "--overlap" not in command:
        raise ConfigurationError(
            f"dft.launcher = {_show(dft['launcher'])}: expected srun --overlap …: inside a job of "
            "the workflow, which srun has started, a second srun waits for ever for its cores"
        )
    table = labels["table"]
    if table is not None:
        if Path(table).suffix not in (".csv", ".parquet"):
            raise ConfigurationError(
                f"labels.table = {_show(table)}: expected a .csv or .parquet file"
            )
        if not (root / table).is_file():
            raise ConfigurationError(f"labels.table = {_show(table)}: expected an existing file")
    for name in labels["from_campaigns"]:
        results = Path("results") / name / "dft" / "results.parquet"
        if name == config["campaign"]:
            raise ConfigurationError(
                f"labels.from_campaigns = {_show(name)}: expected other campaigns than this one"
            )
        if not (root / results).is_file():
            raise ConfigurationError(
                f"labels.from_campaigns = {_show(name)}: expected a campaign with {results}"
            )
    _check_protocol(dft["protocol"], root)
    _check_pseudopotentials(config, root)
    if "materials_project" in dict(library_sources(config["library"])):
        _check_materials_project(config["library"]["materials_project"], root)


# What `library.path` has to be; the other sources have none, and `bundled` a key of its own.
SOURCE_PATHS = {
    "folder": "folder of structures",
    "cdvae_csv": "CSV file",
    "ase_db": "database file",
    "c2db": "folder of published tables",
    "hetml": "folder of published tables",
    "jarvis": "JSON file",
}
# What the folder `library.bundled` holds: layers, what is known of them, labels of stacks.
BUNDLED_FILES = ("monolayers.extxyz", "monolayers.csv", "bilayers.csv")


def asked_for(config: Mapping) -> dict:
    """What verified candidates are held against: the targets, and the alignment if one is asked."""
    alignment = config["screening"]["alignment"]
    return dict(config["targets"]) | ({} if alignment == "any" else {"alignment": alignment})


def structures_to_predict(config: Mapping) -> list[str]:
    """Structure files that `prediction.structures` names, or that lie in the folder it names.

    None where there are none: the job says so.
    """
    # Imported here: it takes seconds, and every call of snakemake reads the configuration.
    from heteroforge.io import InputError
    from heteroforge.models.structure_files import structure_paths

    folder = config["prediction"]["structures"]
    with contextlib.suppress(InputError):
        return [str(path) for path in structure_paths([folder] if folder else [])]
    return []


def published_tables(config: Mapping) -> tuple[str | None, list[str]]:
    """Folder of the tables in which `predict` looks layers up, and their files.

    No folder where there is none by the default name: that one is optional.
    """
    folder = config["prediction"]["tables"]
    if folder is None or (folder == TABLES and not Path(folder).is_dir()):
        return None, []
    names = ("bidb", "c2db", "hetml")
    files = (path for name in names for path in sorted(Path(folder, name).glob("*")))
    return folder, [str(path) for path in files if path.is_file()]


def library_sources(library: Mapping) -> list[tuple[str, str | None]]:
    """Source and path, pair by pair, of the configuration's `library`.

    Raises:
        ConfigurationError: not as many paths as sources.
    """
    sources, paths = library["source"], library["path"]
    if isinstance(sources, str):
        sources = [sources]
    if not isinstance(paths, list):
        paths = [paths if source in SOURCE_PATHS else None for source in sources]
    if len(paths) != len(sources):
        raise ConfigurationError(
            f"library.path = {_show(paths)}: expected one path per source, {len(sources)}, with "
            "null for sources without one"
        )
    own = {"bundled": library["bundled"]}
    return [(source, own.get(source, path)) for source, path in zip(sources, paths, strict=True)]


def library_files(sources: Sequence[tuple[str, str | None]]) -> list[str]:
    """What the monolayers depend on: files, and those in a folder of a user's, not the folder.

    The time of a folder does not change with what is in its files.

    Args:
        sources: of `library_sources`.
    """
    found = []
    for source, path in sources:
        if source == "bundled":
            found += [f"{path}/{name}" for name in BUNDLED_FILES[:2]]
        elif source == "folder" and path and Path(path).is_dir():
            found += sorted(str(file) for file in Path(path).iterdir() if file.is_file())
        elif path:
            found.append(path)
    return found


def _check_sources(library: Mapping, root: Path) -> None:
    missing = [f for f in BUNDLED_FILES if not (root / library["bundled"] / f).is_file()]
    if missing:
        raise ConfigurationError(
            f"library.bundled = {_show(library['bundled'])}: expected a folder with "
            f"{', '.join(BUNDLED_FILES)}, as heteroforge.dft.compute_library makes it; "
            f"{', '.join(missing)} missing"
        )
    for source, path in library_sources(library):
        if source not in SOURCE_PATHS:
            continue
        kind = SOURCE_PATHS[source]
        if path is None:
            raise ConfigurationError(
                f"library.path = null: expected a {kind} for library.source {source}"
            )
        found = (root / path).is_dir() if kind.startswith("folder") else (root / path).is_file()
        if not found:
            raise ConfigurationError(f"library.path = {_show(path)}: expected an existing {kind}")


def _check_materials_project(search: Mapping, root: Path) -> None:
    """A search that was answered before needs no key, any other does: better told now."""
    # Imported here: other campaigns do without.
    from heteroforge.sources.materials_project_service import Search, kept_answer, key_fault

    if kept_answer(Search.from_mapping(search), root / ANSWERS) is None and (fault := key_fault()):
        raise ConfigurationError(f"library.source = materials_project: {fault}")


def _check_protocol(name: str, root: Path) -> None:
    path = root / "workflow" / "heteroforge" / "dft" / "protocols.yaml"
    if not path.is_file():
        return
    known = list(yaml.safe_load(path.read_text(encoding="utf-8")))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigurationError(
            f"dft.protocol = {_show(name)}: expected one of {', '.join(known)}{hint}"
        )


def elements_covered(family: str, root: str | Path = ".") -> set[str]:
    """Elements with a pseudopotential in an installable family, or in a folder.

    Args:
        family: value of `dft.pseudopotentials`.
        root: the project's folder.

    Raises:
        ConfigurationError: neither a known family nor a folder of <Element>.upf files.
    """
    table = Path(root) / "resources" / "pseudopotentials" / "checksums.csv"
    families: dict[str, set[str]] = {}
    with table.open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            families.setdefault(row["family"], set()).add(row["element"])
    if family in families:
        return families[family]
    if (Path(root) / family).is_dir():
        files = [p for p in (Path(root) / family).iterdir() if p.suffix.lower() == ".upf"]
        covered = {path.stem for path in files}
        for path in sorted(files):
            element = path.stem
            if path.suffix != ".upf" or element not in chemical_symbols[1:]:
                raise ConfigurationError(
                    f"dft.pseudopotentials = {_show(family)}: {path.name} in it, expected files "
                    "named <Element>.upf, such as Mo.upf"
                )
            own = Pseudopotentials(str(Path(root) / family))
            try:
                own.check_kind(element)
                if own.lacks_orbitals(element):
                    reference_configuration(own.file(element))
            except ValueError as error:
                raise ConfigurationError(
                    f"dft.pseudopotentials = {_show(family)}: {error}"
                ) from None
        if covered:
            return covered
        raise ConfigurationError(
            f"dft.pseudopotentials = {_show(family)}: expected a folder of <Element>.upf files"
        )
    raise ConfigurationError(
        f"dft.pseudopotentials = {_show(family)}: expected {', '.join(sorted(families))}"
        " or an existing folder"
    )


def _check_pseudopotentials(config: Mapping, root: Path) -> None:
    family, protocol = config["dft"]["pseudopotentials"], config["dft"]["protocol"]
    covered = elements_covered(family, root)
    needed_by = {protocol: f"dft.protocol = {_show(protocol)}"}
    if (limit := config["screening"]["maximum_dft_core_min"]) is not None:
        needed_by.setdefault("quick", f"screening.maximum_dft_core_min = {limit}, by `quick`")
    for name, key in needed_by.items():
        try:
            Protocol.named(name, Pseudopotentials(family))
        except ValueError as error:
            raise ConfigurationError(f"{key}: {error}") from None
    if "materials_project" in dict(library_sources(config["library"])):
        for element in config["library"]["materials_project"]["elements"]:
            if element not in covered:
                raise ConfigurationError(
                    f"library.materials_project.elements = {_show(element)}: expected an element "
                    f"with a pseudopotential in dft.pseudopotentials {family}"
                )


# --- description ------------------------------------------------------------------------------


def describe_configuration(schema: Mapping, defaults: Mapping) -> str:
    """Markdown table of every key: type, unit, default and effect.

    Args:
        schema: the schema of the configuration.
        defaults: the default configuration.
    """
    lines = ["| key | type | unit | default | effect |", "|---|---|---|---|---|"]
    for key, node, default in _keys(schema, schema, defaults, ""):
        shown = "not asked for" if default is _ABSENT else f"`{json.dumps(default)}`"
        kind = _type_name(node)
        lines.append(
            f"| `{key}` | {kind} | {node.get('unit', '')} | {shown} | {node['description']} |"
        )
    return "\n".join(lines) + "\n"


_ABSENT = object()


def _keys(node: Mapping, schema: Mapping, defaults: object, path: str):
    for key, given in node["properties"].items():
        child = _resolve(given, schema)
        inside = defaults.get(key, _ABSENT) if isinstance(defaults, Mapping) else _ABSENT
        if "properties" in child:
            yield from _keys(child, schema, inside, f"{path}{key}.")
        else:
            yield f"{path}{key}", child, inside
