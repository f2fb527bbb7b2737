"""Converts the value of the flag --refine to fields of the configuration."""

from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.scoring.protocols import dense_refined
from encnet_jax.storage import lookup, schema


def refine_fields(refine: str | None) -> dict:
    """Converts the value of --refine to fields of the configuration.

    Args:
        refine: 'dense', 'none', or a JSON file written by `report refine`; None if the
            flag is not given.

    Returns:
        {dotted field name: value}; empty if the flag is not given.

    Raises:
        UserError: the value is not 'dense', 'none' or an existing file, or the file
            does not contain the parameters of a dense CRF.
    """
    if refine is None:
        return {}
    if refine in dense_refined.REFINED_FIELDS:
        return {"eval.refine": refine}
    path = epath.Path(refine)
    if not lookup.exists(path) or lookup.is_folder(path):
        known = ", ".join(dense_refined.REFINED_FIELDS)
        raise UserError(
            f"--refine is {refine!r}; expected one of: {known}, or a file written by"
            " `python -m encnet_jax.report refine`"
        )
    names = {field.rpartition(".")[2]: field for field in dense_refined.FIELDS}
    found = storage.read_json(path)
    if found.keys() != names.keys():
        raise UserError(
            f"the file {path} (--refine) does not have exactly the keys"
            f" {', '.join(names)}; expected a file written by"
            " `python -m encnet_jax.report refine`"
        )
    wrong = schema.problem(found, dict.fromkeys(names, schema.number()))
    if wrong:
        raise UserError(
            f"the file {path} (--refine) is damaged: {wrong}; restore the file"
        )
    return {"eval.refine": "dense"} | {names[n]: x for n, x in found.items()}
