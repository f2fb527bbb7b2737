"""Networks as files that other runtimes load. Importing this package loads no JAX.

Each module of this folder registers its own format:

    @FORMATS.register("stablehlo", load="encnet_jax.export.stablehlo:load", ...)
    def write(program, about): ...

The function turns a program.Program into the bytes of a file that also stores the
JSON-ready metadata `about`. A registration declares

    load: function that opens the file in its own runtime: path -> (run, platform), and
        run: the arrays of Program.inputs -> outputs by name. Its source alone is
        run, in a process without this package, so it imports what it uses.
    platforms: on which the file can be run.
    packages: modules whose versions are recorded.
    readable: for how long the publisher of the format keeps files readable.
"""

from encnet_jax.registry import Registry, discover

FORMATS: Registry = Registry("export format")
discover(__name__, __path__[0], FORMATS=FORMATS)
