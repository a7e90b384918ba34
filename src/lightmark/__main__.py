"""`python -m lightmark` is the `lightmark` command; `torchrun -m lightmark` starts it several times."""

from lightmark.cli import main

if __name__ == "__main__":
    main(prog_name="lightmark")
