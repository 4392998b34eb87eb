"""Runs what lies in a folder."""

from .main import main

raise SystemExit(main())
