"""Writes networks as files that other runtimes load.

Importing this package does not import JAX. Each format is registered by a module of
this folder:

    @FORMATS.register("stablehlo", load="encnet_jax.export.stablehlo:load", ...)
    def write(program, about): ...

The function `write` converts a program.Program to the bytes of a file, which also
contain the JSON-ready metadata `about`. A registration has these facts:

    load: 'module:function' that opens a file in the format's own runtime. The function
        takes the path and returns (run, platform); `run` takes the arrays of
        Program.inputs and returns the outputs by name. Only the source code of the
        function is executed, in a process without this package, so the function must
        import everything it uses.
    platforms: platforms that can run the file.
    packages: modules whose versions are recorded.
    readable: how long the format's publisher guarantees that files can be read.
"""

from encnet_jax.registry import Registry, discover

FORMATS: Registry = Registry("export format")
discover(__name__, __path__[0], FORMATS=FORMATS)
