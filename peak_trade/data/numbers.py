"""Numbers in columns of text: decimal points, decimal commas and separators of thousands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import ConfigError

_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)?(,\d+)?([eE][+-]?\d+)?")
_COMMA_OF_THOUSANDS = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)?(\.\d*)?([eE][+-]?\d+)?")


def read_numbers(columns: Sequence[pd.Series[Any]], where: str, table_format: str) -> tuple[list[FloatArray], str]:
    """Return columns as numbers, NaN where a cell is not one, and how commas in them were read.

    Parameters
    ----------
    columns : sequence of Series of shape (n_rows,)
        All of them decide the meaning of commas together, and all cells are read in one way.
    where : str
        The file.
    table_format : str
        With the separator semicolon, a comma that could be either is a decimal comma, as spreadsheets write it.

    Raises
    ------
    ConfigError
        If commas may separate decimals or thousands.

    """
    if not any(_has_comma(column) for column in columns):
        return [_to_floats(column) for column in columns], ""
    texts = pd.concat([_stripped(column) for column in columns]).dropna()
    is_decimal, is_thousands = (texts.str.fullmatch(form.pattern) for form in (_DECIMAL_COMMA, _COMMA_OF_THOUSANDS))
    if bool(is_decimal.all()) and bool(is_thousands.all()) and "semicolon" not in table_format:
        shown = texts[texts.str.contains(",")].iloc[0]
        raise ConfigError(
            f"{where}: the comma of {shown!r} may separate decimals or thousands. "
            "Write decimal points, or separate the columns with semicolons if it is a decimal comma."
        )
    if is_decimal.mean() >= is_thousands.mean():
        return [_converted(column, _DECIMAL_COMMA, ".", (",", ".")) for column in columns], "decimal comma"
    return [_converted(column, _COMMA_OF_THOUSANDS, ",", ("", "")) for column in columns], "commas of thousands"


def _has_comma(column: pd.Series[Any]) -> bool:
    return column.dtype.kind not in "iufb" and bool(column.astype(str).str.contains(",", regex=False).any())


def _stripped(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype("str").str.strip()


def _converted(column: pd.Series[Any], form: re.Pattern[str], dropped: str, decimal: tuple[str, str]) -> FloatArray:
    text = _stripped(column)
    plain = text.where(text.str.fullmatch(form.pattern).fillna(False)).str.replace(dropped, "", regex=False)
    return _to_floats(plain.str.replace(*decimal, regex=False) if decimal[0] else plain)


def _to_floats(column: pd.Series[Any]) -> FloatArray:
    if column.dtype.kind in "mM":
        return np.full(len(column), np.nan)
    if column.dtype == np.float64:
        return column.to_numpy()
    return np.asarray(pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))
