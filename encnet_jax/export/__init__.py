"""Networks as files that other runtimes load. Importing this package loads no JAX.

Each module of this folder registers its own format:

    @FORMATS.register("stablehlo", load="encnet_jax.export.stablehlo:load", ...)
    def write(program, about): ...

The function turns a program.Program into the bytes of a file that also stores the
JSON-ready metadata `about`. A registration declares

    load: 'module:function' that opens the file in its own runtime: path -> (run,
        platform). `run` takes the arrays of Program.inputs and returns the outputs by
        name. Only the source code of the function is executed, in a process without
        this package, so the function must import everything it uses.
    platforms: platforms that can run the file.
    packages: modules whose versions are recorded.
    readable: how long the format's publisher guarantees that files can be read.
"""

from encnet_jax.registry import Registry, discover

FORMATS: Registry = Registry("export format")
discover(__name__, __path__[0], FORMATS=FORMATS)
