"""Checks telemetry.yaml, models.yaml and policies.yaml together: all errors and all warnings."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from llm_service.config.budget_sanity import doubts_of_policies
from llm_service.config.documents import Document, read_document
from llm_service.config.files import expanded, locate
from llm_service.config.load import check_config
from llm_service.config.models_sanity import RateBook, doubts_of_models
from llm_service.config.models_schema import ModelsConfig
from llm_service.config.parsing import problems_of
from llm_service.config.policies_schema import PoliciesConfig
from llm_service.config.schema_values import Strict
from llm_service.config.schemas import TelemetryConfig
from llm_service.errors import ConfigError

__all__ = ["Checked", "check_files"]

_T = TypeVar("_T", bound=Strict)


class Checked(NamedTuple):
    """The checked files and what is wrong with them; `warnings` are of valid values that are probably mistakes."""

    telemetry: TelemetryConfig | None
    models: Path | None
    policies: Path | None
    errors: list[ConfigError]
    warnings: list[ConfigError]


def check_files(
    config: str | Path | None = None,
    *,
    models: str | Path | None = None,
    policies: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    bundled: Callable[[], RateBook | None] = lambda: None,
) -> Checked:
    """Check the three files, one by one and against each other. Never raises because of their content.

    Args:
        config: the telemetry.yaml; None searches like `load_config`.
        models: the models.yaml; None searches like `locate`. A missing file is not checked.
        environ: the environment to read; default `os.environ`.
        bundled: returns prices to compare with, or None; called only if there are models to compare.
    """
    telemetry, errors = check_config(config, environ=environ)
    models_file, models_document, known = _read("models", ModelsConfig, models, config, environ, errors)
    policies_file, document, rules = _read("policies", PoliciesConfig, policies, config, environ, errors)
    warnings: list[ConfigError] = []
    book = bundled() if known is not None and known.models else None
    if known is not None and models_document is not None:
        warnings += doubts_of_models(known, models_document, book)
    if rules is not None and document is not None:
        warnings += doubts_of_policies(rules, document, known, str(models_file), book)
    warnings.sort(key=lambda warning: (str(warning.file), warning.line or 0))
    return Checked(telemetry, models_file, policies_file, errors, warnings)


def _read(
    kind: Literal["models", "policies"],
    schema: type[_T],
    path: str | Path | None,
    config: str | Path | None,
    environ: Mapping[str, str] | None,
    errors: list[ConfigError],
) -> tuple[Path | None, Document | None, _T | None]:
    """Path, document and schema of a file; its errors are added to `errors`."""
    file: Path | None = None
    try:
        file = expanded(path) if path is not None else locate(kind, config, environ=environ)
        if file is None:
            return None, None, None
        document = read_document(file)
    except ConfigError as error:
        errors.append(error)
        return file, None, None
    value, problems = problems_of(schema, document)
    errors += problems
    return file, document, None if problems else value
