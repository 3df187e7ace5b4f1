"""The instrument and the judge: measures a service from pytest and says whether it became slower."""
