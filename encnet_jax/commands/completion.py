"""Prints a script that completes commands and flags in bash and zsh.

eval "$(encnet completion)"    # In ~/.bashrc, or in ~/.zshrc after bashcompinit.
"""

from collections.abc import Sequence

from encnet_jax import cli

# The script reads the names from the output of --help, so they are always up to date.
SCRIPT = r"""
_encnet() {
  local each words=() text
  for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $each == -* ]] && break
    words+=("$each")
  done
  text=$(encnet "${words[@]:0:2}" --help 2>/dev/null ||
         encnet "${words[@]:0:1}" --help 2>/dev/null)
  COMPREPLY=($(compgen -W "$(sed -nE \
    -e 's/^  (--[a-z_0-9]+):.*/\1/p' -e 's/^  ([a-z]+)  .*/\1/p' <<<"$text")" \
    -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _encnet encnet
"""


def main(argv: Sequence[str]) -> None:
    """Prints the completion script."""
    cli.CommandLine(argv, __doc__).parse(loads_jax=False)
    print(SCRIPT)
