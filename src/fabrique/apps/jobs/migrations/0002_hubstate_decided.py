from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]

    operations = [
        migrations.AddField(model_name="hubstate", name="decided", field=models.JSONField(default=dict)),
    ]
