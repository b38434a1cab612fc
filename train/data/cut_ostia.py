"""Cut the embedded sample out of the OSTIA file of the PyPI package iris-sample-data 2.5.2.

    pip download --no-deps iris-sample-data==2.5.2
    pip install netCDF4
    cut_ostia.py iris_sample_data-2.5.2-py3-none-any.whl ostia_pacific_monthly.nc
"""

import sys
import zipfile

import netCDF4
import numpy as np

MEMBER = "iris_sample_data/sample_data/ostia_monthly.nc"
COLUMNS = slice(240, 340)  # 200 E to 282.5 E; all 54 months and all 18 rows are kept
AXES = ("time", "latitude", "longitude")
SCALE, OFFSET, FILL = 0.001, 296.0, -32768  # Kelvin as i2: exact to half a millikelvin


def copy_axis(target, axis, kind, values):
    variable = target.createVariable(axis.name, kind, (axis.name,))
    variable.setncatts({k: axis.getncattr(k) for k in axis.ncattrs() if k != "bounds"})
    variable[:] = values


def main(wheel, output):
    with zipfile.ZipFile(wheel) as package:
        source = netCDF4.Dataset("ostia_monthly.nc", memory=package.read(MEMBER))
    temperature = source["surface_temperature"]
    field = temperature[:, :, COLUMNS]
    with netCDF4.Dataset(output, "w", format="NETCDF3_CLASSIC") as target:
        for name, size in zip(AXES, field.shape):
            target.createDimension(name, size)
        copy_axis(target, source["time"], "f8", source["time"][:])
        copy_axis(target, source["latitude"], "f4", source["latitude"][:])
        copy_axis(target, source["longitude"], "f4", source["longitude"][COLUMNS])
        packed = target.createVariable(temperature.name, "i2", AXES, fill_value=FILL)
        packed.set_auto_maskandscale(False)
        packed.setncatts({
            "standard_name": "surface_temperature",
            "long_name": "OSTIA monthly mean sea surface temperature",
            "units": temperature.units,
            "cell_methods": temperature.cell_methods,
            "scale_factor": SCALE,
            "add_offset": OFFSET,
        })
        packed[:] = np.ma.round((field.astype("f8") - OFFSET) / SCALE).filled(FILL).astype("i2")
        target.setncatts({
            "Conventions": "CF-1.5",
            "title": "Monthly sea surface temperature of the equatorial Pacific, April 2006 to September 2010",
            "source": f"{MEMBER} of the PyPI package iris-sample-data 2.5.2",
            "history": "columns 240 to 339 kept, packed as 16-bit integers by cut_ostia.py",
            "license": "Open Government Licence; (c) British Crown copyright, 2018, the Met Office",
        })


if __name__ == "__main__":
    main(*sys.argv[1:])
