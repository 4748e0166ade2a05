"""`gallery`, and `python -m gallery`."""


def main() -> None:
    """The import stands here for the renderers: each runs this module again as it starts, and needs no command line."""
    from gallery.cli.app import main as run  # noqa: PLC0415  see above

    run()


if __name__ == "__main__":
    main()
