"""Search spaces: what can be designed. Knows no training and no search; the bottom floor of the project.

``space`` holds ranges and configurations, ``graph`` networks as plain data, ``architecture`` ties both together.
"""

from search_spaces.space import Choice, Configuration, Float, Int, Linear, Space

__all__ = ["Choice", "Configuration", "Float", "Int", "Linear", "Space"]
