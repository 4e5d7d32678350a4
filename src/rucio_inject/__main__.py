"""`python -m rucio_inject` is the command `rucio-inject`."""

from rucio_inject.cli.main import main

if __name__ == "__main__":
    main()
