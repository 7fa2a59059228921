"""Half precision against float32."""
