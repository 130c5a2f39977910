"""What shows a run: analysis, figures, the report, tables, curves, samples."""
