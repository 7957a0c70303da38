from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_hubstate_decided")]

    operations = [
        migrations.AddField(model_name="hubstate", name="last_cycle_took_ms", field=models.BigIntegerField(null=True)),
        migrations.AddField(model_name="hubstate", name="silent", field=models.JSONField(default=dict)),
    ]
