"""`python -m secateur`: the console script, found as installed, since the face imports no tool."""

from importlib.metadata import entry_points

if __name__ == "__main__":
    for script in entry_points(group="console_scripts", name="secateur"):
        script.load()()
