"""Writes networks as files that other runtimes load.

Importing this package does not import JAX. Each format is registered by a module of
this folder:

    @FORMATS.register("stablehlo", load="encnet_jax.export.stablehlo:load", ...)
    def write(program, about): ...

The function `write` accepts a program.Program and JSON-ready metadata, and returns the
bytes of a file that contains the program and the metadata. The keyword arguments of
`register` are:

    load: 'module:function', the name of a function that opens a file in the format's
        own runtime. The function accepts the path and returns (run, platform); `run`
        accepts the arrays of Program.inputs and returns {name: output}. Only the source
        code of the function is executed, in a process without this package, so the
        function must import all modules that it uses.
    platforms: platforms that can run the file.
    packages: modules whose versions are written to the metadata.
    readable: how long the format's publisher guarantees that files can be read.
"""

from encnet_jax.registry import Registry, discover

FORMATS: Registry = Registry("export format")
discover(__name__, __path__[0], FORMATS=FORMATS)
