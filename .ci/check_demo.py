"""Opens what `isobath demo` wrote: imputed.nc with xarray, and the files beside it."""

import json
import pathlib
import sys

import numpy as np
import xarray as xr

folder = pathlib.Path(sys.argv[1])
for name in ["config.toml", "imputed.nc", "loss.png", "maps.png", "metrics.json", "report.html", "series.png"]:
    assert (folder / name).is_file(), f"{name}: expected among {sorted(f.name for f in folder.iterdir())}"
json.loads((folder / "metrics.json").read_text())
for picture in folder.glob("*.png"):
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n", f"{picture.name}: expected a PNG file"

with xr.open_dataset(folder / "imputed.nc") as data:
    fields = [name for name in data.data_vars if f"{name}_mean" in data]
    assert len(fields) == 1, f"expected one imputed field with its mean, found {fields} among {list(data.data_vars)}"
    field = data[fields[0]]
    assert field.ndim == 3 and np.issubdtype(data[field.dims[0]].dtype, np.datetime64), f"found {field.coords}"
    assert "units" in field.attrs and "history" in data.attrs, f"found {field.attrs} and {data.attrs}"
    sea = field.notnull().any(field.dims[0])
    for name in ["", "_mean", "_std", "_q05", "_q95"]:
        values = data[field.name + name]
        assert values.dims == field.dims, f"{values.name}: expected {field.dims}, found {values.dims}"
        gaps = int((values.isnull() & sea).sum())
        assert gaps == 0, f"{values.name}: {gaps} gaps left at sea"
    assert bool((data[f"{field.name}_q05"] <= field).where(sea, True).all()), "a 5 % quantile above the median"
    assert bool((field <= data[f"{field.name}_q95"]).where(sea, True).all()), "a 95 % quantile below the median"
    print(data)
