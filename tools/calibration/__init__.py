"""The gate measured as an instrument: does it tell the truth on this class of machine?"""
