"""One file a form, each registered under the name that ``--to`` takes."""
