"""The native part of a pip build; everything else is in pyproject.toml."""

import pathlib
import subprocess
import sys

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py


class Build(build_py):
    """Make the init and the validator, and lay both into the package."""

    def run(self) -> None:
        files = ["build/pyoci-init", "pyoci_systemd/spec/validator.py"]
        subprocess.run(["make", *files, f"PYTHON={sys.executable}"], check=True)
        super().run()
        if not self.editable_mode:
            place = pathlib.Path(self.build_lib, "pyoci_systemd/init/pyoci-init")
            self.copy_file("build/pyoci-init", str(place))


class Wheel(bdist_wheel):
    """A wheel for one kind of machine, though for every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class Native(Distribution):
    """A package with a native part: not `any` platform."""

    def has_ext_modules(self) -> bool:
        return True


setup(distclass=Native, cmdclass={"build_py": Build, "bdist_wheel": Wheel})
