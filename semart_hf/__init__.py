"""Type, school, timeframe and medium of a painting, from its picture and its description."""
