"""`gallery`, and `python -m gallery`."""

from gallery.cli.app import main

if __name__ == "__main__":
    main()
