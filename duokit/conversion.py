"""Whatever holds numbers, as one NumPy array: the door that everything a user brings goes through.

Position counts and nothing else: the first label belongs to the first row of the logits, whatever
the index of a pandas object says. No torch is imported: tensors are known by their methods.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]


def as_array(values: Any, name: str = "values") -> AnyArray:
    """Return the values as a NumPy array on the CPU, on the same memory where that can be.

    Takes NumPy, torch, pandas (Series, Index, DataFrame, nullable types), lists, tuples, and all
    that has __array__ or __dlpack__ (JAX, Polars, PyArrow, xarray). Anything else becomes an array
    of no numeric type, which the caller refuses by its own words.

    Args:
        values: What was given.
        name: What to call it in an error.

    Raises:
        TypeError: A pandas categorical, columns of several kinds, or a tensor that is not dense.
        ValueError: A missing value (NA, or masked), or rows of different lengths.
    """
    if isinstance(values, np.ma.MaskedArray):
        _refuse_missing(np.ma.getmaskarray(values), name)
        values = values.data
    if isinstance(values, np.ndarray):
        return _plain(np.asarray(values))
    if hasattr(values, "detach"):
        return _of_tensor(values, name)
    if _is_pandas(values):
        return _of_frame(values, name) if hasattr(values, "columns") else _of_column(values, name)
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return _of_sequence(values, name)
    if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):
        return np.from_dlpack(values)
    return _plain(np.asarray(values))


def whole_numbers(values: Any, name: str) -> AnyArray:
    """Return integers as an array of the integer type they came in, or raise TypeError.

    Python integers that no such type holds come back as objects, so that they can be shown.

    Raises:
        TypeError: Floats (also whole ones), True/False, texts, objects; and as `as_array`.
        ValueError: As `as_array`.
    """
    array = as_array(values, name)
    if isinstance(values, Sequence) and any(isinstance(v, bool | np.bool_) for v in values):
        raise TypeError(f"{name} holds True/False, not integers (class numbers)")
    if array.dtype.kind in "fO" and isinstance(values, Sequence) and _all_whole(values):
        return np.array(values, dtype=object)
    if array.dtype.kind in "iu":
        return array
    text = f"{name} must be integers (class numbers), not {kind_of(values, array)}"
    if array.dtype.kind == "f":
        missing = np.flatnonzero(np.isnan(array))
        if len(missing):
            raise TypeError(f"{text}: {name}[{missing[0]}] is missing (nan); leave that image out")
        raise TypeError(f"{text}: make them whole first, by .astype(int) or in torch by .long()")
    raise TypeError(f"{text}: number the classes from 0, in the order of the logits' columns")


def kind_of(values: Any, array: AnyArray) -> str:
    """Return what to call the kind of some values in an error; of objects, an odd one."""
    if array.dtype.kind == "O" and array.ndim:
        odd = [v for v in array.flat if not isinstance(v, int | float | np.number)]
        return f"objects such as {next(iter(odd or array.flat), None)!r}"[:80]
    return str(getattr(values, "dtype", array.dtype if array.ndim else type(values).__name__))


def _plain(array: AnyArray) -> AnyArray:
    """Return the array; the small types of ml_dtypes, as JAX has them, become ones of NumPy."""
    if array.dtype.kind == "V" and array.dtype.names is None:
        if array.dtype.name.startswith(("bfloat16", "float")):
            return array.astype(np.float32)
        if array.dtype.name.startswith(("int", "uint")):
            return array.astype(np.int64)
    return array


def _of_tensor(tensor: Any, name: str) -> AnyArray:
    tensor = tensor.detach()
    if str(tensor.layout) != "torch.strided" or tensor.is_meta or tensor.is_quantized:
        raise TypeError(f"{name} must be a dense tensor with values: call .to_dense() first")
    tensor = tensor.cpu()
    small = tensor.is_floating_point() and str(tensor.dtype).startswith(
        ("torch.bfloat16", "torch.float8")
    )
    return np.asarray((tensor.float() if small else tensor).numpy())


def _is_pandas(values: Any) -> bool:
    pandas = sys.modules.get("pandas")  # never imported: nothing can be of its types
    if pandas is None:
        return False
    kinds = (pandas.DataFrame, pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray)
    return isinstance(values, kinds)


def _of_frame(frame: Any, name: str) -> AnyArray:
    """Return (rows, columns); columns of several kinds are refused, as one is likely no number."""
    titles = [str(title) for title in frame.columns]
    _check_order(titles, name)
    columns = [
        _of_column(frame.iloc[:, at], f"{name}[{title!r}]") for at, title in enumerate(titles)
    ]
    kinds = [column.dtype.kind for column in columns]
    usual = max(kinds, key=kinds.count, default="")
    for title, column in zip(titles, columns, strict=True):
        if column.dtype.kind != usual:
            raise TypeError(
                f"column {title!r} of {name} holds {column.dtype}, unlike most others: leave out "
                f"columns that are no {name}, or convert them"
            )
    return np.column_stack(columns) if columns else np.asarray(frame)


def _check_order(titles: list[str], name: str) -> None:
    """Refuse columns that are numbered but stand in another order, as tools that sort texts do."""
    found = [re.fullmatch(r"(.*?)(\d+)", title) for title in titles]
    if not titles or any(match is None for match in found):
        return
    stems, numbers = zip(*(match.groups() for match in found if match), strict=True)
    order = [int(number) for number in numbers]
    first = min(order)
    if (
        len(set(stems)) == 1
        and order != sorted(order)
        and sorted(order) == list(range(first, first + len(order)))
    ):
        at = next(place for place, number in enumerate(order) if number != first + place)
        raise ValueError(
            f"the columns of {name} are numbered but not in order: {titles[at]!r} stands at "
            f"position {at}. Labels count the columns from the left: sort them by number"
        )


def _of_column(column: Any, name: str) -> AnyArray:
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return np.asarray(column)
    if dtype.name == "category":
        raise TypeError(
            f"{name} must be numbers, not a pandas categorical, whose codes need not be the class "
            "numbers: give .cat.codes if the categories stand in the order of the logits' columns"
        )
    _refuse_missing(np.asarray(column.isna()), name)
    plain = getattr(dtype, "numpy_dtype", None)  # of the nullable and of the Arrow types
    return np.asarray(column if plain is None else column.to_numpy(dtype=plain))


def _refuse_missing(missing: npt.NDArray[np.bool_], name: str) -> None:
    if missing.any():
        place = ", ".join(str(at) for at in np.argwhere(missing)[0])
        raise ValueError(f"{name}[{place}] is missing (NA): leave that image out, or fill it in")


def _of_sequence(values: Sequence[Any], name: str) -> AnyArray:
    if any(hasattr(value, "detach") for value in values):  # a list of tensors, one an image
        values = [as_array(value, name) for value in values]
    try:
        return _plain(np.asarray(values))
    except ValueError as error:
        raise ValueError(f"the rows of {name} have different lengths ({error})") from None


def _all_whole(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | np.integer) for v in values)
